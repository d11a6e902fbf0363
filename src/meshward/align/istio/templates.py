"""Envoy's path templates: what one matches, and which spellings end the process (tried: Envoy 1.38 and 1.40)."""

from __future__ import annotations

import re
from functools import lru_cache

_LITERAL = r"a-zA-Z0-9\-._~%!$&'()+,;:@"
_SEGMENT = re.compile(rf"[{_LITERAL}]+")
_VARIABLE = re.compile(r"\{[a-zA-Z][a-zA-Z0-9_]{0,15}\}")
_ONE, _MANY = rf"[{_LITERAL}]+", rf"[{_LITERAL}/]*"


@lru_cache(maxsize=4096)
def template(text: str) -> re.Pattern[str] | None:
    """The expression of a template in Envoy's spelling (`*`, `**`); None where Envoy takes it for none."""
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
            parts.append((_MANY if star else _ONE) + re.escape(rest))
        elif segment == "" and at == len(segments) - 1:
            parts.append("")
        elif _VARIABLE.fullmatch(segment) and not ended:
            parts.append(_ONE)
        elif not _SEGMENT.fullmatch(segment):
            return None
        else:
            parts.append(re.escape(segment))
    return re.compile("/" + "/".join(parts))
