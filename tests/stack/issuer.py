"""An issuer of the tests' own: its key document is a file that the policy names, so tokens of any shape can be made."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from joserfc import jws
from joserfc.jwk import ECKey

URL = "https://issuer.test"
AUDIENCE = "models"
KID = "test-key"


class TestIssuer:
    __test__ = False

    def __init__(self) -> None:
        self.private = ec.generate_private_key(ec.SECP256R1())
        self._key = ECKey.import_key(self.private)

    def write_jwks(self, path: Path) -> None:
        public = {**self._key.as_dict(private=False), "kid": KID, "alg": "ES256", "use": "sig"}
        path.write_text(json.dumps({"keys": [public]}))

    def token(self, subject: str, groups: list[str] | None = None, **over: Any) -> str:
        """A good token; a claim given as None is left out."""
        now = int(time.time())
        claims: dict[str, Any] = {
            "iss": URL, "aud": AUDIENCE, "sub": subject, "groups": groups or [],
            "iat": now, "exp": now + 600, "client_id": "tests", "jti": f"{subject}-{now}",
        }  # fmt: skip
        claims.update(over)
        kept = {name: value for name, value in claims.items() if value is not None}
        return self.sign({"alg": "ES256", "kid": KID, "typ": "at+jwt"}, kept)

    def sign(self, header: dict[str, Any], claims: dict[str, Any]) -> str:
        return jws.serialize_compact(header, json.dumps(claims).encode(), self._key)
