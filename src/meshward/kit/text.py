"""Text from outside in our sentences: quoted, listed, made harmless to a terminal or a header; and what was meant."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable
from difflib import get_close_matches

# Letters and marks that `str.isprintable` lets pass although nothing is seen of them.
_UNSEEN = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)


def quoted(word: object, most: int = 80) -> str:
    """`word` in backticks, what a terminal would not show as itself escaped; cut after `most` characters."""
    text = word if isinstance(word, str) else repr(word)
    shown = text if len(text) <= most else f"{text[:most]}..."
    return "`" + "".join(_show_character(character) for character in shown) + "`"


def join_words(words: Iterable[str], joint: str = "or") -> str:
    """`a`, `a or b`, `a, b or c`."""
    words = list(words)
    return f" {joint} ".join(part for part in (", ".join(words[:-1]), *words[-1:]) if part)


def is_plain(text: str) -> bool:
    """Whether `text` is printable ASCII alone: what a header, or a name in one, may hold."""
    return text.isascii() and text.isprintable()


def to_ascii(text: str) -> str:
    """`text` as printable ASCII: what a header and any terminal takes. All else becomes `?`."""
    if is_plain(text):
        return text
    return "".join(char if " " <= char <= "~" else "?" for char in text)


def one_line(text: str, unprintable: str = "?") -> str:
    """`text` as a part of a line: `unprintable` stands for what cannot be printed, so it makes no line of its own."""
    return "".join(char if char.isprintable() else unprintable for char in text)


def spelled_out(text: str) -> str:
    """`text` as a part of a line, all that could steer a terminal or hide (escapes, controls, bidi marks) spelled."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def first_unseen(text: str) -> int | None:
    """Where the first character stands that is not seen as itself: controls, bidirectional marks, zero width,
    spaces other than U+0020, unassigned and private ones. None if there is none.
    """
    if text.isprintable():
        found = None if text.isascii() else _UNSEEN.search(text)
        return found.start() if found else None
    return next(index for index, character in enumerate(text) if not _is_seen(character))


def character_name(character: str) -> str:
    """`U+202E RIGHT-TO-LEFT OVERRIDE`."""
    name = unicodedata.name(character, "")
    return f"U+{ord(character):04X} {name}".rstrip()


def nearest(word: object, known: Collection[str]) -> str | None:
    """The known word that was probably meant."""
    if not isinstance(word, str) or len(word) > 64:
        return None
    return next(iter(get_close_matches(word, known, n=1, cutoff=0.6)), None)


def quoted_list(words: Collection[str], most: int = 12) -> str:
    """`a`, `b` and `c`; at most `most` of them."""
    shown = [quoted(word) for word in list(words)[:most]]
    if len(words) > most:
        return ", ".join(shown) + f" and {len(words) - most} more"
    return " and ".join([", ".join(shown[:-1]), shown[-1]]) if len(shown) > 1 else "".join(shown)


def _is_seen(character: str) -> bool:
    return character.isprintable() and not _UNSEEN.match(character)


def _show_character(character: str) -> str:
    if character != "`" and _is_seen(character):
        return character
    return f"\\u{ord(character):04x}"
