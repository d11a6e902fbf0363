"""Secrets are a type that cannot print itself."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_TOKEN = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*", re.ASCII)
_SHORTEST = 100  # characters: a name with two dots is no token


@dataclass(frozen=True, slots=True)
class Secret:
    """A token, key or password. `reveal()` is the only way to its text, so every use can be found by name."""

    _text: str = field(repr=False)

    def reveal(self) -> str:
        return self._text

    def __str__(self) -> str:
        return "<secret>"

    def __repr__(self) -> str:
        return "Secret(<secret>)"


def holds_token(text: str) -> bool:
    """Whether some word of `text` is a token, by its shape."""
    return any(len(word) > _SHORTEST for word in _TOKEN.findall(text))
