"""Reading one value out of verified claims, and comparing it without coercion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final


class _Absent:
    def __repr__(self) -> str:
        return "ABSENT"


ABSENT: Final = _Absent()


def claim(claims: Mapping[str, object], key: str) -> object:
    """What is at `key`, a JSON pointer (RFC 6901) if it starts with `/`, else a top-level name; or ABSENT."""
    if not key.startswith("/"):
        return claims.get(key, ABSENT)
    value: object = claims
    for step in key[1:].split("/"):
        value = _step(value, step.replace("~1", "/").replace("~0", "~"))
        if value is ABSENT:
            return ABSENT
    return value


def attributes_of(sources: Mapping[str, str], claims: Mapping[str, object]) -> dict[str, str]:
    """The attributes that `claims` give, by name. A source that begins with `/` points into the claims, any other is
    a constant; what is not there, or no text, gives none."""
    found = {
        name: claim(claims, source) if source.startswith("/") else source for name, source in sources.items()
    }
    return {name: value for name, value in found.items() if isinstance(value, str)}


def same_value(left: object, right: object) -> bool:
    """Equal in value and in type: neither 1 and True nor 1 and "1" are the same."""
    return type(left) is type(right) and left == right


def _step(value: object, name: str) -> object:
    if isinstance(value, Mapping):
        return value.get(name, ABSENT)
    if isinstance(value, (list, tuple)) and name.isascii() and name.isdigit() and str(int(name)) == name:
        return value[int(name)] if int(name) < len(value) else ABSENT
    return ABSENT
