"""What one look at a log found, and how much of it is taken now.

A request's halves come to different files at different times: Envoy writes twenty times a second, nginx at once. A
half that is stored alone is stored again with its other one, so the last lines of a log are left for the next look
if what belongs to them is not there yet. They stay where they are, and whoever crashes has not read them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from meshward.audit.lines import EdgeLine, GuardLine, Hop, Line, parse
from meshward.audit.places import CHANGES
from meshward.audit.tail import Chunk, Tail


@dataclass(frozen=True, slots=True)
class Look:
    """`lines`: what each raw line of the chunk says. `final`: the log ends with it."""

    tail: Tail
    chunk: Chunk
    lines: Sequence[Sequence[Line]]
    final: bool = False


def look(tail: Tail, *, final: bool = False) -> Look | None:
    """What is new in the file. Which hop speaks is told by the file, never by the line."""
    chunk = tail.read(final=final)
    if chunk is None:
        return None
    source = tail.source
    hop: Hop = "guard" if source.startswith("guards/") else "control" if source == CHANGES else "edge"
    return Look(tail, chunk, [parse(raw, hop) for raw in chunk.lines], final)


def without_late(looks: Sequence[Look]) -> list[Look]:
    """`looks` without the lines at the end of a log from the first on whose other half is in none of them.

    No more than half of a look is left: what was left once is the start of the next look, and is taken then.
    """
    halves = [[_half(lines) for lines in each.lines] for each in looks]
    edges = {half for each in halves for half, of_edge in each if of_edge}
    guards = {half for each in halves for half, of_edge in each if not of_edge}
    taken = []
    for each, of_look in zip(looks, halves, strict=True):
        late = (
            n
            for n, (half, of_edge) in enumerate(of_look)
            if half and half not in (guards if of_edge else edges)
        )
        taken.append(_first(each, next(late, len(of_look))))
    return taken


def _half(lines: Sequence[Line]) -> tuple[str, bool]:
    """The request of which these lines are one half, and whether it is the edge's; no request: they are whole."""
    for line in lines:
        if isinstance(line, GuardLine):
            return line.rid, False
        if isinstance(line, EdgeLine) and line.forwarded:
            return line.rid, True
    return "", False


def _first(of: Look, count: int) -> Look:
    """Its first `count` lines; all of it, if these are less than half."""
    if of.final or count >= len(of.lines) or 2 * count < len(of.lines) - 1:
        return of
    return replace(of, chunk=of.chunk.first(count), lines=of.lines[:count])
