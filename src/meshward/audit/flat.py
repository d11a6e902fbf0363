"""A flat JSON object of texts, which every line of a log is, read strictly. Pure.

Nearly all lines are plain: an object of texts without a quote inside. Those are read by a fast parser, which would take
a name twice, and then proved: in an object of texts every member has four quotes or more, so where there are just
four for each name, the parser dropped none. What is not proved so is read again, slowly and strictly; both ways
read the same.
"""

from __future__ import annotations

import json
from typing import Any

from pydantic_core import from_json

from meshward.kit.strict import unique


def read(body: bytes) -> dict[str, str]:
    """The members of the object. Raises ValueError, RecursionError.

    A byte that is not UTF-8 becomes U+FFFD: it must not cost the record. Null is empty, digits are taken as text.
    """
    plain = _plain(body)
    return _strict(body) if plain is None else plain


def value(text: str) -> Any:
    """The JSON value that `text` is, its numbers taken as text. Raises ValueError (a name twice), RecursionError."""
    return _DECODER.decode(text)


def storable(text: str) -> str:
    """Without lone surrogates, which JSON can spell and nothing else can store."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _plain(body: bytes) -> dict[str, str] | None:
    try:
        values = from_json(body, cache_strings="keys")
    except ValueError:
        return None
    if type(values) is not dict or set(map(type, values.values())) != {str}:
        return None
    return values if body.count(b'"') == 4 * len(values) else None


def _strict(body: bytes) -> dict[str, str]:
    values = value(body.decode("utf-8", "replace"))
    if not isinstance(values, dict):
        raise ValueError("not an object")
    texts = {name: "" if text is None else text for name, text in values.items()}
    if not all(isinstance(text, str) for text in texts.values()):
        raise ValueError("not text")
    return {name: storable(text) for name, text in texts.items()}


_DECODER = json.JSONDecoder(object_pairs_hook=unique, parse_int=str, parse_float=str)
