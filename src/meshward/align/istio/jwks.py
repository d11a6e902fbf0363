"""Keys as Envoy's jwt_authn reads them: a set without one usable key is refused together with the whole listener."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_CURVES = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}


@dataclass(frozen=True, slots=True)
class Key:
    """`material` is the same for two spellings of one public key; `kid` and `alg` are empty where the key says none."""

    material: str
    kid: str
    alg: str
    family: str

    def takes(self, kid: str, alg: str) -> bool:
        """Whether a token that names `kid` and `alg` is checked with this key."""
        named = not kid or not self.kid or kid == self.kid
        return named and (not self.alg or self.alg == alg) and _family(alg) == self.family


class NoKeys(ValueError):
    """Why Envoy takes the set for none."""


def read_keys(text: str) -> tuple[Key, ...]:
    """The usable keys of a JWKS. Raises NoKeys where there is none, or it is no JWKS."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise NoKeys("is not JSON") from None
    keys = found.get("keys") if isinstance(found, Mapping) else None
    if not isinstance(keys, list):
        raise NoKeys("has no list `keys`")
    usable = tuple(key for key in map(_read, keys) if key)
    if not usable:
        raise NoKeys("has no key that can be used" if keys else "is empty")
    return usable


def key_id(jwk: Mapping[str, Any]) -> str:
    """Names the public key of a JWK by its material; empty where it is none."""
    found = _read(jwk)
    return found.material if found else ""


def _read(jwk: object) -> Key | None:
    if not isinstance(jwk, Mapping):
        return None
    kind = jwk.get("kty")
    alg, kid = (jwk.get(name, "") for name in ("alg", "kid"))
    if not isinstance(alg, str) or not isinstance(kid, str):
        return None
    if kind == "RSA" and (not alg or alg[:2] in ("RS", "PS")):
        return _key("RSA", [jwk.get("n"), jwk.get("e")], kid, alg)
    if kind == "EC":
        curve = jwk.get("crv")
        implied = _CURVES.get(curve, "") if isinstance(curve, str) else ""
        if implied and alg in ("", implied):
            return _key(implied, [curve, jwk.get("x"), jwk.get("y")], kid, alg)
        return None
    if kind == "OKP" and jwk.get("crv") == "Ed25519" and alg in ("", "EdDSA"):
        return _key("OKP", [jwk.get("x")], kid, alg)
    if kind == "oct" and alg[:2] in ("", "HS"):
        return _key("oct", [jwk.get("k")], kid, alg)
    return None


def _key(family: str, parts: list[Any], kid: str, alg: str) -> Key | None:
    if not all(isinstance(part, str) and part for part in parts):
        return None
    return Key(":".join([family, *parts]), kid, alg, family)


def _family(alg: str) -> str:
    if alg[:2] == "ES":
        return alg
    return {"RS": "RSA", "PS": "RSA", "Ed": "OKP", "HS": "oct"}.get(alg[:2], "")
