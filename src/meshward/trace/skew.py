"""Whose clock is ahead? The edge's and the guard's times of one request, compared. Pure.

The edge waits for the guard, so the guard's work lies within the edge's. Where the two have no moment in common, their
clocks differ by at least what is between them: the lines show it, whatever the request was answered.
"""

from __future__ import annotations

from collections.abc import Iterable

from meshward.audit.join import Record, seconds
from meshward.audit.lines import EdgeLine, GuardLine
from meshward.kit.skew import NTP, spelled

LEEWAY = 1.0
"""Seconds that the lines of two good clocks may be apart: a proxy reads its clock once per turn of its loop."""


def clock_skew(record: Record) -> str | None:
    """A sentence with the measured difference; None where the clocks agree, or nothing can be said of them."""
    if record.edge is None or record.guard is None or record.reused:
        return None
    apart = guard_ahead(record.edge, record.guard)
    if abs(apart) <= LEEWAY:
        return None
    side = "ahead of" if apart > 0 else "behind"
    return f"clock skew: the guard's clock is at least {spelled(int(apart))} {side} the edge's: {NTP}"


def skew_sentence(records: Iterable[Record]) -> str:
    """Of several, the newest first: whose clocks differ, and by how much in the newest; empty: nobody's."""
    found: dict[str, list[str]] = {}
    for record in records:
        if (said := clock_skew(record)) and record.guard:
            found.setdefault(record.guard.guard, []).append(said)
    return "; ".join(
        f"{guard}: {said[0]} (of the newest requests {len(said)} say so)" for guard, said in found.items()
    )


def guard_ahead(edge: EdgeLine, guard: GuardLine) -> float:
    """Seconds between the guard's work and the edge's: above 0 the guard's came later, below 0 earlier."""
    end, began = seconds(edge.t), seconds(guard.t)  # nginx writes when it ended, Envoy when it began
    if not end or not began:
        return 0.0
    start, ended = end - seconds(edge.dur), began + seconds(guard.dur) / 1000
    return max(began - end, 0.0) or min(ended - start, 0.0)
