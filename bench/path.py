"""The full path beside the bare one: CPU time per request, busy and paced, and what a client waits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from bench.figures import Sample, Verdict, middle, more, ratio, shown, spread
from bench.load import CONNECTIONS, Target
from bench.machine import served_first
from bench.nginx import workers
from bench.parts import breakdown
from bench.report import Section, prose, say, table
from bench.sides import Sides, sides
from bench.whole import PARTS

PATH = ("edge", "guard")  # what every request passes; the others are listed beside
BUSY, PACED, WAITED = 2, 2.5, 2.0  # seconds of a round
PACE, LATENCY_PACE = 200, 300  # requests per second


def measure(directory: Path, rounds: int) -> Section:
    with served_first() as how, sides(directory) as both:
        busy = _rounds(both, rounds, lambda target: target.busy(BUSY), "busy")
        paced = _rounds(both, rounds, lambda target: target.paced(PACE, PACED), "paced")
        waited = _rounds(both, rounds, lambda target: target.paced(LATENCY_PACE, WAITED), "latency")
        parts = breakdown(both, rounds)
        edge_workers = workers(both.whole.roots()["edge"])
    lines = _verdicts(busy, paced, waited)
    lines += ["", *_table(busy, paced, waited), "", *parts, "", *_notes(edge_workers, rounds, how)]
    return Section("path", "The path: what identity costs a request", lines)


Rounds = Mapping[str, list[Sample]]


def _rounds(both: Sides, rounds: int, load: Callable[[Target], Sample], what: str) -> Rounds:
    """`rounds` of `load` on each side, in turn, the order swapped every round. One round before them warms up."""
    samples: dict[str, list[Sample]] = {"bare": [], "full": []}
    targets = {"bare": both.bare, "full": both.full}
    for each in targets.values():
        each.busy(1)
    for number in range(rounds):
        for side in sorted(targets, reverse=bool(number % 2)):
            samples[side].append(load(targets[side]))
        say(
            f"path, {what} {number + 1}/{rounds}: "
            + ", ".join(f"{s} {samples[s][-1].total(*PATH):.0f} us" for s in samples)
        )
    return samples


def _series(samples: list[Sample], *names: str) -> list[float]:
    return [sample.total(*names) for sample in samples]


def _verdicts(busy: Rounds, paced: Rounds, waited: Rounds) -> list[str]:
    full, bare = (_series(busy[side], *PATH) for side in ("full", "bare"))
    slow = [_series(paced[side], *PATH) for side in ("full", "bare")]
    wait = [[sample.p50 for sample in waited[side]] for side in ("full", "bare")]
    verdicts = [
        Verdict("CPU per request, full / bare, busy", ratio(full, bare), 1.8, "x"),
        Verdict("CPU per request more, busy", more(full, bare), 80, "us"),
        Verdict(f"CPU per request more, paced at {PACE}/s", more(*slow), 150, "us"),
        Verdict(f"median wait more, at {LATENCY_PACE}/s", more(*wait), 1, "ms"),
        Verdict("the aim: CPU per request, full / bare, busy", ratio(full, bare), 1.3, "x"),
    ]
    return table(["what", "target", "measured", "verdict"], [verdict.cells() for verdict in verdicts])


def _table(busy: Rounds, paced: Rounds, waited: Rounds) -> list[str]:
    head = [
        "load",
        "side",
        "edge",
        "guard",
        "both",
        "+-",
        "decide",
        "collector",
        "requests/s",
        "p50 ms",
        "p99 ms",
    ]
    rows = []
    for name, rounds in (("busy", busy), (f"paced {PACE}/s", paced), (f"paced {LATENCY_PACE}/s", waited)):
        for side in ("bare", "full"):
            rows.append([name, side, *_row(rounds[side])])
    return table(head, rows)


def _row(samples: list[Sample]) -> list[str]:
    def cpu(part: str) -> str:
        return shown(middle(_series(samples, part))) if part in samples[0].cpu else ""

    both = _series(samples, *PATH)
    rest = [shown(middle(values)) for values in zip(*((s.rate, s.p50, s.p99) for s in samples), strict=True)]
    edge, guard, decide, collector = (cpu(part) for part in PARTS)
    return [edge, guard, shown(middle(both)), shown(spread(both)), decide, collector, *rest]


def _notes(edge_workers: int, rounds: int, how: str) -> list[str]:
    what = prose(
        f"Microseconds of CPU time (user and system, all threads) per request, medians of {rounds} alternated rounds;",
        "`+-` is half the distance between the quartiles. `both` is edge and guard, which every request passes.",
        "`decide` decides once per caller and 4 s, `collector` makes a record of each request's two log lines, off its",
        "path: both stand beside the sum, not in it.",
    )
    with_what = prose(
        f"Both sides have {edge_workers} nginx worker and one Envoy worker, {CONNECTIONS} connections over TLS, a",
        "prompt and an answer of 1 KB, and get the same bytes, an 800-byte token among them. The full side is an",
        "instance of `meshward up`, which runs as many nginx workers as it sees CPUs: it is started on one CPU, and",
        "may use all once it runs. Load generator and model share the machine; paced, each request wakes processes",
        f"that sleep. All of it runs {how}.",
    )
    return [*what, "", *with_what]
