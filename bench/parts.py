"""Where the time goes: each hop again, part by part, from bare to full. A step is what its part adds.

The edge's variants go to the bare guard and the guard's variants come from the bare edge, so that only one hop changes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack

from bench.edge_variants import EDGE, edge_variants
from bench.figures import middle, shown, spread, steps
from bench.guard_variants import GUARD, guard_variants
from bench.load import Target
from bench.report import say, table
from bench.sides import Sides

SECONDS = 1  # of a round
Ladder = Mapping[str, Sequence[float]]


def breakdown(both: Sides, rounds: int) -> list[str]:
    """Both hops' tables."""
    with ExitStack() as stack:
        edge = _climb("edge", stack.enter_context(edge_variants(both)), rounds)
    with ExitStack() as stack:
        variants, refresh = stack.enter_context(guard_variants(both))
        guard = _climb("guard", variants, rounds, refresh)
    return [*_table("edge", edge, EDGE), "", *_table("guard", guard, GUARD)]


def _climb(
    hop: str, targets: Mapping[str, Target], rounds: int, before: Callable[[], None] = lambda: None
) -> Ladder:
    """CPU time per request of `hop` for each variant, in turn; the order swapped every round."""
    found: dict[str, list[float]] = {name: [] for name in targets}
    for number in range(-1, rounds):  # the first round warms up
        before()
        for name in sorted(targets, key=list(targets).index, reverse=bool(number % 2)):
            used = targets[name].busy(SECONDS).total(hop)
            if number >= 0:
                found[name].append(used)
        say(f"path, parts of the {hop} {number + 1}/{rounds}")
    return found


def _table(hop: str, ladder: Ladder, meanings: Mapping[str, str]) -> list[str]:
    added = steps(ladder)
    rows = [
        [name, meanings[name], shown(added[name]), shown(middle(values)), shown(spread(values))]
        for name, values in ladder.items()
    ]
    more = sum(added.values()) - next(iter(added.values()))
    whole = f"The {hop}, part by part (us per request, busy, +{shown(more)} in all):"
    return [whole, "", *table([hop, "what it is", "adds", "so far", "+-"], rows)]
