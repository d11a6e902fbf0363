"""An issuer's public keys (RFC 7517), each bound to the one algorithm that it verifies."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from meshward.kit.reasons import Reason
from meshward.kit.strict import base64url, json_object
from meshward.kit.text import is_plain
from meshward.oidc.refusal import TokenRefused

_KINDS: dict[str, type[ECKey] | type[RSAKey] | type[OKPKey]] = {"EC": ECKey, "RSA": RSAKey, "OKP": OKPKey}
_MEMBERS = {"EC": ("crv", "x", "y"), "RSA": ("n", "e"), "OKP": ("crv", "x")}
_SIZES = {"P-256": 32, "Ed25519": 32}  # bytes of one coordinate
_SECRETS = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
_ALGORITHMS = {  # the first of a kind is what a JWK without `alg` is bound to
    ("EC", "P-256"): ("ES256",),
    ("RSA", None): ("RS256", "PS256"),
    ("OKP", "Ed25519"): ("EdDSA", "Ed25519"),
}
_RSA_BITS = range(2048, 8193)
MOST_KEYS = 100  # members of a set: each costs a parse, in the loop that decides


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """A public key of an issuer and the only algorithm that it is ever used with."""

    kid: str
    alg: str
    _key: ECKey | RSAKey | OKPKey = field(repr=False)

    def verify(self, message: bytes, signature: bytes) -> None:
        """Return if `signature` is this key's over `message`. Raises TokenRefused otherwise."""
        try:
            good = JWSRegistry.algorithms[self.alg].verify(message, signature, self._key)
        except (JoseError, ValueError):
            good = False
        if good is not True:
            raise TokenRefused(
                Reason.SIGNATURE_INVALID, "The signature of the token is not by its issuer. Sign in again."
            )

    def public_jwk(self) -> dict[str, str]:
        """As `parse_key` reads it."""
        material = self._key.as_dict(private=False)
        members = ("kty", *_MEMBERS[str(material["kty"])])
        return {**{name: str(material[name]) for name in members}, "kid": self.kid, "alg": self.alg}


def parse_key(jwk: object) -> VerificationKey:
    """One JWK: RSA of 2048 to 8192 bits, P-256 or Ed25519. Raises ValueError for any other."""
    if not isinstance(jwk, dict):
        raise ValueError("a key is not an object")
    if _SECRETS & jwk.keys():
        raise ValueError("a private key was published")
    if jwk.get("use", "sig") != "sig" or "verify" not in _operations(jwk):
        raise ValueError("not a key for signatures")
    kid = jwk.get("kid")
    if not isinstance(kid, str) or not is_kid(kid):
        raise ValueError("no usable `kid`")
    return VerificationKey(kid, _algorithm(jwk), _material(jwk))


def parse_key_set(document: bytes) -> dict[str, VerificationKey]:
    """The usable keys of a JWK Set by `kid`; the rest is left out, as is a `kid` that two usable keys share.

    Raises ValueError if none is usable, or if it has more than `MOST_KEYS`.
    """
    members = json_object(document).get("keys")
    if not isinstance(members, list):
        raise ValueError("no list `keys`")
    if len(members) > MOST_KEYS:
        raise ValueError(f"more than {MOST_KEYS} keys")
    keys = [key for key in map(_parse_or_none, members) if key is not None]
    count = Counter(key.kid for key in keys)
    usable = {key.kid: key for key in keys if count[key.kid] == 1}
    if not usable:
        raise ValueError("no usable key")
    return usable


def is_kid(text: str) -> bool:
    """A key's name: at most 200 printable ASCII characters. It is only ever looked up, never interpreted."""
    return 0 < len(text) <= 200 and is_plain(text)


def _parse_or_none(jwk: object) -> VerificationKey | None:
    try:
        return parse_key(jwk)
    except ValueError:
        return None


def _operations(jwk: dict[str, Any]) -> list[Any]:
    operations = jwk.get("key_ops", ["verify"])
    return operations if isinstance(operations, list) else []


def _algorithm(jwk: dict[str, Any]) -> str:
    curve = None if jwk.get("kty") == "RSA" else jwk.get("crv")
    allowed = next((names for kind, names in _ALGORITHMS.items() if kind == (jwk.get("kty"), curve)), ())
    algorithm = jwk.get("alg", allowed[0] if allowed else None)
    if algorithm not in allowed:
        raise ValueError("an algorithm or curve that is not accepted")
    return str(algorithm)


def _material(jwk: dict[str, Any]) -> ECKey | RSAKey | OKPKey:
    """The key itself. `_algorithm` has already seen that kind and curve are ours."""
    kind = jwk["kty"]
    numbers = {name: base64url(jwk[name]) for name in _MEMBERS[kind] if name != "crv" and _text(jwk, name)}
    if kind == "RSA":
        _check_rsa(int.from_bytes(numbers["n"]), int.from_bytes(numbers["e"]))
    elif any(len(number) != _SIZES[jwk["crv"]] for number in numbers.values()):
        raise ValueError("a coordinate of the wrong length")
    try:
        return _KINDS[kind].import_key({"kty": kind, **{name: jwk[name] for name in _MEMBERS[kind]}})
    except (JoseError, UnsupportedAlgorithm) as error:
        raise ValueError("not a key") from error


def _text(jwk: dict[str, Any], name: str) -> bool:
    if not isinstance(jwk.get(name), str):
        raise ValueError(f"no text `{name}`")
    return True


def _check_rsa(modulus: int, exponent: int) -> None:
    if modulus.bit_length() not in _RSA_BITS or modulus % 2 == 0:
        raise ValueError("an RSA modulus that is too small, too large or even")
    if not 3 <= exponent < 2**32 or exponent % 2 == 0:
        raise ValueError("an RSA exponent that is out of range")
