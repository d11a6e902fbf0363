"""An OIDC issuer of a test's own: its keys are a file that a policy names, and it signs tokens of any shape.

issuer = Issuer()
issuer.write_jwks(Path("jwks.json"))        # the policy's `jwks: {file: jwks.json}`
issuer.token("alice", ["data-science"])     # a good token
issuer.token("alice", exp=0)                # one that is over
issuer.token("alice", aud=None)             # one that says not for whom it is
Issuer().token("alice")                     # a stranger's: the same words, another key
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from joserfc.jwk import ECKey, RSAKey
from joserfc.jws import JWSRegistry

from meshward.kit.durable import write_atomic
from meshward.kit.strict import encode
from meshward.oidc.profiles import Profile, load_profile
from meshward.plan.ir import Issuer as Trusted

URL = "https://issuer.test"
AUDIENCE = "models"
KID = "test-key"
LIFE = 600  # seconds that a token is good for
_CLAIM = re.compile(r"\{([^{}]+)\}")


class Issuer:
    """Signs with a key of its own what an issuer of `profile` would. `groups`: where its groups are, if elsewhere."""

    def __init__(
        self,
        url: str = URL,
        audience: str | None = AUDIENCE,
        *,
        profile: str = "oidc",
        client: str | None = "tests",
        groups: str | None = None,
    ) -> None:
        self.url, self.audience, self.client = url, audience, client
        self.profile = load_profile(profile)
        self.groups = groups or self.profile.groups
        self.alg = "ES256" if "ES256" in self.profile.algorithms else "RS256"
        self.key = ECKey.generate_key("P-256") if self.alg == "ES256" else RSAKey.generate_key(2048)

    @classmethod
    def of(cls, trusted: Trusted) -> Issuer:
        """In the place of an issuer that a plan trusts: its name, audience, client and shape, and a key of ours."""
        shared = load_profile(trusted.profile).shared_audiences
        own = sorted(trusted.audiences, key=lambda audience: audience in shared)
        return cls(
            trusted.url,
            own[0] if own else None,
            profile=trusted.profile,
            client=trusted.clients[0] if trusted.clients else "tests",
            groups=trusted.groups,
        )

    def jwk(self, **over: str) -> dict[str, Any]:
        """The public key, with members replaced."""
        return {**self.key.as_dict(private=False), "kid": KID, "alg": self.alg, "use": "sig", **over}

    def write_jwks(self, path: Path) -> None:
        """In one piece: an instance may be reading the file."""
        write_atomic(path, json.dumps({"keys": [self.jwk()]}), 0o644)

    def token(
        self,
        subject: str,
        groups: Sequence[str] = (),
        *,
        header: Mapping[str, Any] | None = None,
        **claims: Any,
    ) -> str:
        """A good token, but for what is given: members of the header and claims replace ours, None leaves one out.

        `subject` is the stable id, as a policy spells it. Raises ValueError for a subject that no token of this
        kind of issuer could have.
        """
        now = int(time.time())
        good: dict[str, Any] = {
            "iss": self.url,
            "aud": self.audience,
            "sub": subject,
            "jti": f"{subject}-{now}",
        }
        good |= {"iat": now, "exp": now + LIFE, **self._of_its_kind(subject)}
        if self.groups is not None:
            _put(good, self.groups, groups)
        return self.sign(self._header() | dict(header or {}), _given(good | claims))

    def sign(self, header: Mapping[str, Any], claims: Mapping[str, Any]) -> str:
        """These very words, signed."""
        signed = ".".join(encode(json.dumps(part).encode()) for part in (_given(header), claims))
        return f"{signed}.{encode(JWSRegistry.algorithms[self.alg].sign(signed.encode(), self.key))}"

    def _header(self) -> dict[str, Any]:
        typ = next((typ for typ in ("at+jwt", "jwt") if typ in self.profile.typ), None)
        return {"alg": self.alg, "kid": KID, "typ": typ}

    def _of_its_kind(self, subject: str) -> dict[str, Any]:
        """What the profile asks for: the claims that name the client and the subject, and those that must be there."""
        required = {name: values[0] for name, values in self.profile.require.items()}
        client = dict.fromkeys(self.profile.client[:1], self.client)
        return dict.fromkeys(self.profile.present, "1") | required | client | _subject(subject, self.profile)


def _subject(subject: str, profile: Profile) -> dict[str, str]:
    """The claims of which `profile` makes `subject`."""
    text = profile.subject.text
    form = "".join("(.+)" if place % 2 else re.escape(part) for place, part in enumerate(_CLAIM.split(text)))
    found = re.fullmatch(form, subject)
    if found is None:
        raise ValueError(f"`{subject}` is no subject of this kind of issuer: theirs are `{text}`")
    return dict(zip(_CLAIM.findall(text), found.groups(), strict=True))


def _put(claims: dict[str, Any], pointer: str, value: object) -> None:
    """`value` at a JSON pointer (RFC 6901)."""
    *above, last = (step.replace("~1", "/").replace("~0", "~") for step in pointer[1:].split("/"))
    for step in above:
        claims[step] = {}
        claims = claims[step]
    claims[last] = value


def _given(members: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}
