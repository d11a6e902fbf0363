"""The keys that sign Transaction Tokens, and nothing else: no guard can check a token's `typ`.

Guards are given all of them in advance, so that a rotation meets no guard that does not know the key.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from joserfc.jwk import ECKey
from joserfc.jws import JWSRegistry

ALGORITHM = "ES256"
RETIRED_FOR = 180  # seconds: a token's 60, the guards' skew of 5, and as long as a rotation may take


@dataclass(frozen=True)
class SigningKey:
    """An ES256 key; `kid` is its RFC 7638 thumbprint."""

    _key: ECKey = field(repr=False)

    @cached_property
    def kid(self) -> str:
        return str(self._key.thumbprint())

    def sign(self, message: bytes) -> bytes:
        return JWSRegistry.algorithms[ALGORITHM].sign(message, self._key)

    def public_jwk(self) -> dict[str, str]:
        """The public half. It says its `alg`: a verifier must not choose (RFC 8725, 3.1)."""
        numbers = self._key.as_dict(private=False)
        return {
            "kty": "EC",
            "crv": "P-256",
            "x": str(numbers["x"]),
            "y": str(numbers["y"]),
            "kid": self.kid,
            "alg": ALGORITHM,
            "use": "sig",
        }

    def pem(self) -> bytes:
        return self._key.as_pem(private=True)


@dataclass(frozen=True, slots=True)
class Retired:
    """The public half of a key that signs no more; `at`: since when, in seconds since the epoch."""

    jwk: Mapping[str, str]
    at: float


@dataclass(frozen=True, slots=True)
class SigningKeys:
    """`current` signs since `since`, `next` will, those of `previous` did: tokens that they signed may still live."""

    current: SigningKey
    next: SigningKey
    previous: tuple[Retired, ...] = ()
    since: float = 0.0  # seconds since the epoch; 0: since they are written

    def public_jwks(self) -> dict[str, list[dict[str, str]]]:
        """What guards accept."""
        signing = [self.current.public_jwk(), self.next.public_jwk()]
        return {"keys": [*signing, *(dict(each.jwk) for each in self.previous)]}

    def advanced(self, now: float) -> SigningKeys:
        """The keys after a rotation: the next one signs, and a new one waits."""
        kept = self.pruned(now).previous
        return SigningKeys(self.next, make_key(), (Retired(self.current.public_jwk(), now), *kept), now)

    def pruned(self, now: float) -> SigningKeys:
        """Without keys whose last token has ended. What a clock that was set back shows in the future begins now."""
        back = (replace(each, at=min(each.at, now)) for each in self.previous)
        return replace(self, previous=tuple(each for each in back if now - each.at < RETIRED_FOR))


def make_key() -> SigningKey:
    return SigningKey(ECKey.generate_key("P-256"))
