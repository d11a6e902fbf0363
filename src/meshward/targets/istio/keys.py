"""By which keys a mesh verifies Transaction Tokens; where none is known, by one that nobody has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from hashlib import sha256
from itertools import count
from typing import Any

from meshward.kit import codes
from meshward.kit.canonical import canonical_json
from meshward.kit.errors import MeshwardError
from meshward.kit.strict import encode

_MEMBERS = ("kty", "crv", "x", "y", "kid", "alg", "use")
_SENTENCE = b"meshward: nobody has the private half of this key; it refuses every token"
# P-256 (SEC 2, 2.4.2): y^2 = x^3 - 3x + b over the integers modulo p; p is 3 modulo 4.
_P = 2**256 - 2**224 + 2**192 + 2**96 - 1
_B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B


def public_jwks(keys: Sequence[Mapping[str, Any]]) -> str:
    """`keys` as the text of a JWKS, public members only; without any, the one that nobody has.

    Never an empty set, nor one that is not whole: a sidecar refuses that, and every later change with it. Raises
    MeshwardError for a key of another kind, which would accept more than ES256.
    """
    return canonical_json({"keys": [_public(key) for key in keys] or [nobodys_key()]})


def _public(key: Mapping[str, Any]) -> dict[str, Any]:
    whole = all(key.get(name) for name in ("kid", "x", "y"))
    if not whole or (key.get("kty"), key.get("crv"), key.get("alg")) != ("EC", "P-256", "ES256"):
        raise MeshwardError(
            codes.TXN_KEY_NOT_WHOLE, "a Transaction Token key is not a whole ES256 key with a `kid`"
        )
    return {name: key[name] for name in _MEMBERS if name in key}


@cache
def nobodys_key() -> dict[str, str]:
    """A point whose x is the first SHA-256 of a fixed sentence and a number that lies on the curve.

    Whoever finds its private half has broken SHA-256 or P-256.
    """
    x, y = next(_points())
    coordinates = {name: encode(value.to_bytes(32, "big")) for name, value in (("x", x), ("y", y))}
    return {"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": "nobody", **coordinates}


def _points() -> Iterator[tuple[int, int]]:
    for number in count():
        x = int.from_bytes(sha256(b"%s %d" % (_SENTENCE, number)).digest(), "big")
        square = (pow(x, 3, _P) - 3 * x + _B) % _P
        y = pow(square, (_P + 1) // 4, _P)
        if x < _P and y * y % _P == square:
            yield x, y
