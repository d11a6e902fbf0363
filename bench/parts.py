"""Where the time goes: each hop again, part by part, from bare to full. A step is what its part adds.

The edge's variants go to the bare guard and the guard's variants come from the bare edge, so that only one hop changes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack

from bench import turns
from bench.edge_variants import EDGE, edge_variants
from bench.figures import middle, shown, spread, steps
from bench.guard_variants import GUARD, guard_variants
from bench.load import Target
from bench.report import table
from bench.sides import Sides

SECONDS, PACE, PACED = 1.0, 200, 1.0  # of each variant in a round
Ladder = Mapping[str, Sequence[float]]


def breakdown(both: Sides, rounds: int) -> list[str]:
    """Both hops' tables: busy with one round less than `rounds`, paced with two."""
    with ExitStack() as stack:
        edge = _climbs("edge", stack.enter_context(edge_variants(both)), rounds)
    with ExitStack() as stack:
        variants, refresh = stack.enter_context(guard_variants(both))
        guard = _climbs("guard", variants, rounds, refresh)
    return [*_table("edge", *edge, EDGE), "", *_table("guard", *guard, GUARD)]


def _climbs(
    hop: str, targets: Mapping[str, Target], rounds: int, before: Callable[[], None] = lambda: None
) -> tuple[Ladder, Ladder]:
    """CPU time per request for each variant, busy and paced."""

    def climb(opening: turns.Opening, seconds: float, times: int, how: str) -> Ladder:
        what = f"path, parts of the {hop}, {how}"
        found = turns.in_turns(targets, opening, seconds, times, what, before)
        return {name: [sample.total(hop) for sample in samples] for name, samples in found.items()}

    before()
    for target in targets.values():
        target.busy(1)  # warms up
    busy = climb(turns.busy(), SECONDS, max(1, rounds - 1), "busy")
    return busy, climb(turns.paced(PACE), PACED, min(2, rounds), "paced")


def _table(hop: str, busy: Ladder, paced: Ladder, meanings: Mapping[str, str]) -> list[str]:
    added, added_paced = steps(busy), steps(paced)
    rows = [
        [
            name, meanings[name], shown(added[name]), shown(middle(values)), shown(spread(values)),
            shown(added_paced[name]), shown(middle(paced[name])), shown(spread(paced[name])),
        ]
        for name, values in busy.items()
    ]  # fmt: skip
    more, more_paced = (sum(each.values()) - next(iter(each.values())) for each in (added, added_paced))
    paced_at = f"paced {PACE}/s"
    whole = f"The {hop}, part by part (us per request; in all +{shown(more)} busy, +{shown(more_paced)} {paced_at}):"
    head = [hop, "what it is", "busy: adds", "so far", "+-", f"{paced_at}: adds", "so far", "+-"]
    return [whole, "", *table(head, rows)]
