"""An issuer of tokens that signs whatever a test wants."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from meshward.kit.strict import encode
from meshward.oidc.issuer import KeyPlace, TrustedIssuer
from meshward.oidc.jwk import parse_key
from meshward.oidc.keys import FixedKeys
from meshward.oidc.profiles import Profile, load_profile
from meshward.oidc.verify import Verifier

ISSUER = "https://idp.test"
NOW = 1_800_000_000


def make_key(alg: str) -> ECKey | RSAKey | OKPKey:
    if alg == "ES256":
        return ECKey.generate_key("P-256")
    return OKPKey.generate_key("Ed25519") if alg.startswith("Ed") else RSAKey.generate_key(2048)


@dataclass
class Signer:
    alg: str = "ES256"
    kid: str = "k1"
    key: Any = None
    issuer: str = ISSUER
    now: int = NOW
    claims: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.key = self.key or make_key(self.alg)
        self.claims = {
            "iss": self.issuer,
            "aud": "meshward",
            "sub": "alice",
            "iat": self.now,
            "exp": self.now + 60,
        } | self.claims

    def jwk(self, **over: Any) -> dict[str, Any]:
        return {**self.key.as_dict(private=False), "kid": self.kid, "alg": self.alg, "use": "sig"} | over

    def sign(self, header: bytes, payload: bytes) -> str:
        signed = f"{encode(header)}.{encode(payload)}"
        return f"{signed}.{encode(JWSRegistry.algorithms[self.alg].sign(signed.encode(), self.key))}"

    def token(self, header: dict[str, Any] | None = None, **over: Any) -> str:
        """`over` replaces claims; None takes one away."""
        claims = {name: value for name, value in (self.claims | over).items() if value is not None}
        head = {"alg": self.alg, "kid": self.kid, "typ": "JWT"} | (header or {})
        return self.sign(json.dumps(head).encode(), json.dumps(claims).encode())


def issuer(
    *,
    name: str = "corp",
    url: str = ISSUER,
    profile: Profile | None = None,
    audiences: frozenset[str] = frozenset({"meshward"}),
    clients: frozenset[str] = frozenset(),
    keys: KeyPlace | None = None,
) -> TrustedIssuer:
    return TrustedIssuer(name, url, profile or load_profile("oidc"), audiences, clients, keys or KeyPlace())


def verifier(signer: Signer, trusted: TrustedIssuer | None = None, now: float = NOW) -> Verifier:
    key = parse_key(signer.jwk())
    return Verifier([FixedKeys(trusted or issuer(), {key.kid: key})], clock=lambda: now)
