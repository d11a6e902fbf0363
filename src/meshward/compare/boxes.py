"""Conditions as boxes: on each axis (the moment, the hour of the week, the address, ...) a set of numbers.

Axes are taken for independent of one another: a box may hold combinations that no request has. So what is said to be
covered is covered; what is said to be left may, rarely, be nothing.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from functools import reduce

from meshward.compare.spans import FAR, Spans, spans

MOST_AGENTS = 8  # in a chain
MOST_PIECES = 500

Axis = tuple[str, Hashable]
Box = Mapping[Axis, Spans]
"""What a request must be. An axis that is not named may be anything."""
EVERYTHING: Box = {}

UNKNOWN = -FAR
"""An address, or an age, that nobody knows."""
_WHOLE: Mapping[str, Spans] = {
    "source": spans([(UNKNOWN, UNKNOWN + 1), (0, (1 << 32) + (1 << 128))]),
    "fresh": spans([(UNKNOWN, UNKNOWN + 1), (0, FAR)]),
    "hours": spans([(0, 7 * 24 * 60)]),
    "person": spans([(0, 3)]),
    "agent": spans([(0, MOST_AGENTS + 1)]),
    "asked": spans([(0, 2)]),
}
_ANY = spans([(-FAR, FAR)])


def whole(axis: Axis) -> Spans:
    """Everything that there is on `axis`."""
    return _WHOLE.get(axis[0], _ANY)


def both(*boxes: Box) -> Box | None:
    """What is in each of `boxes`; None: nothing."""
    found: dict[Axis, Spans] = {}
    for box in boxes:
        for axis, span in box.items():
            found[axis] = found[axis] & span if axis in found else span
    return found if all(found.values()) else None


def product(*choices: Iterable[Box]) -> list[Box]:
    """What is in one of each of `choices`."""

    def join(left: Sequence[Box], right: Iterable[Box]) -> list[Box]:
        return [box for one in left for other in right if (box := both(one, other)) is not None]

    return reduce(join, map(list, choices), [EVERYTHING])


def left_of(boxes: Iterable[Box], taken: Sequence[Box]) -> list[Box]:
    """What of `boxes` is in none of `taken`. More than there is, where telling would take too long."""
    pieces = [box for box in boxes if is_possible(box)]
    for each in taken:
        if not pieces or len(pieces) > MOST_PIECES:
            break
        pieces = [rest for piece in pieces for rest in _outside(piece, each) if is_possible(rest)]
    return pieces


def _outside(box: Box, taken: Box) -> Iterator[Box]:
    inside = dict(box)
    if both(box, taken) is None:
        yield box
        return
    for axis, span in taken.items():
        here = inside.get(axis, whole(axis))
        if outside := here - span:
            yield {**inside, axis: outside}
        inside[axis] = here & span


def is_possible(box: Box) -> bool:
    """Whether there is a chain of the agents that must be in it, as long as each of them allows."""
    chains = [span for axis, span in box.items() if axis[0] == "agent"]
    acting = [span for span in chains if span.first > 0]
    able = sum(1 for span in chains if span.parts[-1][1] > 1)
    return bool(reduce(Spans.__and__, acting, spans([(len(acting), able + 1)])))
