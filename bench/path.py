"""The full path beside the bare one: CPU time per request, busy and paced, and what a client waits."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from bench import turns
from bench.figures import Sample, Verdict, middle, more, more_spread, ratio, ratio_spread, shown, spread
from bench.load import CONNECTIONS, Target
from bench.machine import served_first
from bench.nginx import workers
from bench.parts import breakdown
from bench.plain import plain_hop
from bench.report import Section, prose, table
from bench.sides import Sides, sides

PATH = ("edge", "guard")  # what every request passes; the others are listed beside
BUSY, PACED, WAITED = 2.0, 2.5, 2.0  # seconds of each side in a round
PACE, LATENCY_PACE = 200, 300  # requests per second
SIDES = ("bare", "bare, ordinary logs", "full", "full, plain hop")
BESIDE = {"decide": "beside full: the decision service", "collector": "beside full: the collector"}
Rounds = Mapping[str, list[Sample]]


def measure(directory: Path, rounds: int) -> Section:
    with ExitStack() as stack:
        how = stack.enter_context(served_first())
        both = stack.enter_context(sides(directory))
        targets = _targets(both, stack.enter_context(plain_hop(both)))
        for target in targets.values():
            target.busy(1)  # warms up
        busy = turns.in_turns(targets, turns.busy(), BUSY, rounds, "path, busy")
        paced = turns.in_turns(targets, turns.paced(PACE), PACED, rounds, "path, paced")
        waited = turns.in_turns(targets, turns.paced(LATENCY_PACE), WAITED, rounds, "path, latency")
        parts = breakdown(both, rounds)
        edge_workers = workers(both.whole.roots()["edge"])
    loads = {"busy": busy, f"paced {PACE}/s": paced, f"paced {LATENCY_PACE}/s": waited}
    lines = _verdicts(busy, paced, waited)
    lines += ["", *_table(loads), "", *parts, "", *_notes(edge_workers, rounds, how)]
    return Section("path", "The path: what identity costs a request", lines)


def _targets(both: Sides, plain: Target) -> dict[str, Target]:
    return dict(zip(SIDES, (both.bare, both.logged, both.full, plain), strict=True))


def _series(samples: list[Sample], *names: str) -> list[float]:
    return [sample.total(*names) for sample in samples]


def _pair(rounds: Rounds, of: str, to: str) -> tuple[list[float], list[float]]:
    return _series(rounds[of], *PATH), _series(rounds[to], *PATH)


def _verdicts(busy: Rounds, paced: Rounds, waited: Rounds) -> list[str]:
    hot, slow = _pair(busy, "full", "bare"), _pair(paced, "full", "bare")
    wait = [sample.p50 for sample in waited["full"]], [sample.p50 for sample in waited["bare"]]
    records = _series(busy["full"], "collector")
    verdicts = [
        Verdict("CPU per request, full / bare, busy", ratio(*hot), 1.5, "x", off=ratio_spread(*hot)),
        Verdict("the aim: the same", ratio(*hot), 1.3, "x", off=ratio_spread(*hot)),
        Verdict(f"CPU per request more, paced at {PACE}/s", more(*slow), 150, "us", off=more_spread(*slow)),
        Verdict(f"median wait more, at {LATENCY_PACE}/s", more(*wait), 0.25, "ms", off=more_spread(*wait)),
        Verdict("the collector, CPU per record, busy", middle(records), 50, "us", off=spread(records)),
    ]
    return table(["what", "target", "measured", "verdict"], [verdict.cells() for verdict in verdicts])


def _table(loads: Mapping[str, Rounds]) -> list[str]:
    head = [
        "load",
        "what runs",
        "edge",
        "guard",
        "both",
        "+-",
        "/ bare",
        "+-",
        "requests/s",
        "p50 ms",
        "p99 ms",
    ]
    rows = []
    for load, rounds in loads.items():
        rows += [[load, side, *_row(rounds, side)] for side in SIDES]
        rows += [[load, what, *_beside(rounds["full"], part)] for part, what in BESIDE.items()]
    return table(head, rows)


def _row(rounds: Rounds, side: str) -> list[str]:
    samples = rounds[side]
    both, bare = _pair(rounds, side, "bare")
    figures = [
        *(middle(_series(samples, part)) for part in PATH),
        *(middle(both), spread(both), ratio(both, bare), ratio_spread(both, bare)),
        *(middle(values) for values in zip(*((s.rate, s.p50, s.p99) for s in samples), strict=True)),
    ]
    return [shown(figure) for figure in figures]


def _beside(samples: list[Sample], part: str) -> list[str]:
    cpu = _series(samples, part)
    return ["", "", shown(middle(cpu)), shown(spread(cpu)), *[""] * 5]


def _notes(edge_workers: int, rounds: int, how: str) -> list[str]:
    what = prose(
        f"Microseconds of CPU time (user and system, all threads) per request, medians of {rounds} rounds, in each of",
        f"which the sides take turns of {turns.SLICE:g} s (paced: {turns.PACED_SLICE:g} s), each loaded by a client of",
        "its own that stands still meanwhile. `+-` is half the distance between the quartiles; of ratios and",
        "differences, of those within a round. `both` is edge and guard, which every request passes; what stands",
        "beside is not in it: the collector makes a record of each request's two log lines, off its path; the decision",
        "service decides once per caller and 4 s, which go on in the others' turns, so that its share is overstated.",
    )
    sides_are = prose(
        "Bare is nginx, mTLS and Envoy; with ordinary logs both write the access log that they write by default. Full",
        "is an instance of `meshward up`. The plain hop is its own files without TLS on the unix socket between edge",
        "and guard, whose mode would be the caller's proof: measured, and not offered.",
    )
    with_what = prose(
        f"All sides have {edge_workers} nginx worker and one Envoy worker, {CONNECTIONS} connections over TLS, a",
        "prompt and an answer of 1 KB, and get the same bytes, an 800-byte token among them. An instance runs as many",
        "nginx workers as it sees CPUs: it is started on one CPU, and may use all once it runs. Load generator and",
        f"model share the machine; paced, each request wakes processes that sleep. All of it runs {how}.",
    )
    return [*what, "", *sides_are, "", *with_what]
