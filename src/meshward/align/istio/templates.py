"""Envoy's path templates: what one matches, and which spellings end the process (tried: Envoy 1.38 and 1.40)."""

from __future__ import annotations

import re
from functools import lru_cache

_LITERAL = r"a-zA-Z0-9\-._~%!$&'()+,;:@"
_SEGMENT = re.compile(rf"[{_LITERAL}*=]+")
_NOTHING = re.compile(r"(?!)")
_VARIABLE = re.compile(r"\{[a-zA-Z][a-zA-Z0-9_]{0,15}\}")
_ONE, _MANY = rf"[{_LITERAL}]+", rf"[{_LITERAL}/]*"


@lru_cache(maxsize=4096)
def template(text: str) -> re.Pattern[str] | None:
    """The expression of a template in Envoy's spelling (`*`, `**`); None where Envoy takes it for none.

    Envoy escapes all of what stands in it as it is, but no `*`: `/embed*` is `/embe` and any number of `d`, and what is
    no expression then matches nothing.
    """
    if not re.fullmatch(r"/[\x21-\x7e]*", text):
        return None
    parts = []
    ended = False
    segments = text[1:].split("/")
    for at, segment in enumerate(segments):
        star = segment[:2] == "**"
        if segment.startswith("*"):
            rest = segment[2 if star else 1 :]
            if ended or (rest and (at < len(segments) - 1 or not _SEGMENT.fullmatch(rest))):
                return None
            ended = star
            parts.append((_MANY if star else _ONE) + _escape(rest))
        elif segment == "" and at == len(segments) - 1:
            parts.append("")
        elif _VARIABLE.fullmatch(segment) and not ended:
            parts.append(_ONE)
        elif not _SEGMENT.fullmatch(segment):
            return None
        else:
            parts.append(_escape(segment))
    return _compile("/" + "/".join(parts))


def _escape(literal: str) -> str:
    return re.escape(literal).replace(r"\*", "*")


def _compile(expression: str) -> re.Pattern[str]:
    """RE2 knows no possessive repetition, which Python would read."""
    if re.search(r"[*+]{2}", expression.replace(_MANY, "x*").replace(_ONE, "x+")):
        return _NOTHING
    try:
        return re.compile(expression)
    except re.error:
        return _NOTHING
