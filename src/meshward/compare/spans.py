"""Sets of whole numbers: moments, minutes of a week, addresses, ages; choices too, by their place in a list."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

FAR = 1 << 200
"""Beyond everything that is counted here: instants, ages, addresses."""
Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Spans:
    """Half-open spans `(first, end)`, ascending, that neither overlap nor touch. Falsy where there is none."""

    parts: tuple[Span, ...]

    def __bool__(self) -> bool:
        return bool(self.parts)

    def __and__(self, other: Spans) -> Spans:
        found: list[Span] = []
        mine, theirs = 0, 0
        while mine < len(self.parts) and theirs < len(other.parts):
            (first, end), (begin, stop) = self.parts[mine], other.parts[theirs]
            if max(first, begin) < min(end, stop):
                found.append((max(first, begin), min(end, stop)))
            mine, theirs = (mine + 1, theirs) if end < stop else (mine, theirs + 1)
        return Spans(tuple(found))

    def __sub__(self, other: Spans) -> Spans:
        return self & other.complement

    @property
    def complement(self) -> Spans:
        ends = [-FAR, *(bound for part in self.parts for bound in part), FAR]
        pairs = zip(ends[::2], ends[1::2], strict=True)
        return Spans(tuple((first, end) for first, end in pairs if first < end))

    @property
    def first(self) -> int:
        """Its least number; `-FAR` where it has none."""
        return self.parts[0][0]


def spans(parts: Iterable[Span]) -> Spans:
    """The numbers in any of `parts`."""
    merged: list[Span] = []
    for first, end in sorted(part for part in parts if part[0] < part[1]):
        if merged and first <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((first, end))
    return Spans(tuple(merged))


def only(*numbers: int) -> Spans:
    return spans((number, number + 1) for number in numbers)


def before(end: int | None) -> Spans:
    """Everything below `end`; None: everything."""
    return spans([(-FAR, FAR if end is None else end)])
