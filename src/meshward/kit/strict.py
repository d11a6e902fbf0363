"""One spelling of base64url and of JSON. Those that read raise ValueError for every other."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any


def base64url(text: str) -> bytes:
    """The bytes of `text`: URL-safe alphabet, no padding, no white space, unused bits zero (RFC 7515, 2)."""
    data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if encode(data) != text:
        raise ValueError("not canonical base64url")
    return data


def encode(data: bytes) -> str:
    """`data` as base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def token_hash(text: str) -> str:
    """base64url SHA-256 of a token: what logs and records hold in its place."""
    return encode(hashlib.sha256(text.encode("ascii")).digest())


def json_object(data: bytes) -> dict[str, Any]:
    """A JSON object; else as `json_value`."""
    value = json_value(data)
    if not isinstance(value, dict):
        raise ValueError("not an object")
    return value


def json_value(data: bytes) -> Any:
    """A JSON value in UTF-8: no name twice, no NaN or infinity, no byte order mark, no lone surrogate."""
    try:
        value = _DECODER.decode(data.decode("utf-8"))
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if b"\\u" in data:
        json.dumps(value, ensure_ascii=False).encode("utf-8")  # a lone surrogate has no UTF-8 form
    return value


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The members of an object, for `json`'s `object_pairs_hook`. Raises ValueError where a name comes twice."""
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a name occurs twice")
    return members


def _finite(literal: str) -> float:
    number = float(literal)
    if number - number != 0:
        raise ValueError("a number is out of range")
    return number


def _refuse(literal: str) -> Any:
    raise ValueError(f"{literal} is not JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=unique, parse_float=_finite, parse_constant=_refuse)
