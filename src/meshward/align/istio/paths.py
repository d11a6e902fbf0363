"""How Envoy spells a request's path before any rule sees it (http/path_utility and the URL canonicalizer below it)."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})")
_SLASH_ESCAPE = re.compile(r"%2[fF]|%5[cC]")
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_KEPT = _UNRESERVED | frozenset("!$&'()*+,;:@=/%[]")


@dataclass(frozen=True, slots=True)
class Normalization:
    """`slashes`: what happens to an escaped slash: keep, forward (unescaped), redirect or reject."""

    canonical: bool = True
    merge: bool = False
    slashes: str = "keep"


OF_MESH = {
    "DEFAULT": Normalization(),
    "BASE": Normalization(),
    "NONE": Normalization(canonical=False),
    "MERGE_SLASHES": Normalization(merge=True),
    "DECODE_AND_MERGE_SLASHES": Normalization(merge=True, slashes="forward"),
}


def merged(
    found: Normalization, *, canonical: bool = False, merge: bool = False, slashes: str = ""
) -> Normalization:
    """`found` with what a patch adds: a merge of messages never takes a `true` away."""
    return replace(
        found,
        canonical=found.canonical or canonical,
        merge=found.merge or merge,
        slashes=slashes or found.slashes,
    )


def normalize(path: str, how: Normalization) -> str | int:
    """The path that rules and the server see, query included; or the status of a refusal (400, 307)."""
    if "#" in path or not path.startswith("/") or any(ord(char) < 0x21 or ord(char) == 0x7F for char in path):
        return 400
    left, mark, query = path.partition("?")
    if how.slashes != "keep" and _SLASH_ESCAPE.search(left):
        if how.slashes != "forward":
            return 400 if how.slashes == "reject" else 307
        left = _SLASH_ESCAPE.sub(lambda found: "/" if found.group().lower() == "%2f" else "\\", left)
    if how.canonical:
        canonical = _canonical(left)
        if canonical is None:
            return 400
        left = canonical
    if how.merge and "//" in left:
        left = re.sub("/+", "/", left)
    return left + mark + query


def without_query(path: str) -> str:
    return re.split(r"[?#]", path, maxsplit=1)[0]


def _canonical(path: str) -> str | None:
    """Backslashes are slashes, dot segments are resolved, unreserved characters unescaped; None for what is refused."""
    if "%00" in path:
        return None
    plain = _ESCAPE.sub(_unescaped, path.replace("\\", "/"))
    out: list[str] = []
    segments = plain[1:].split("/")
    for at, segment in enumerate(segments):
        last = at == len(segments) - 1
        if segment == "..":
            if out:
                out.pop()
            if last:
                out.append("")
        elif segment != ".":
            out.append(segment)
        elif last:
            out.append("")
    return "/" + "/".join("".join(map(_escaped, segment)) for segment in out)


def _unescaped(found: re.Match[str]) -> str:
    char = chr(int(found.group(1), 16))
    return char if char in _UNRESERVED else found.group()


def _escaped(char: str) -> str:
    if char in _KEPT:
        return char
    return "".join(f"%{byte:02X}" for byte in char.encode("utf-8", "surrogateescape"))
