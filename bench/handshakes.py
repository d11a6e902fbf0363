"""TLS handshakes per second of the edge's CPU, beside an nginx with one certificate that never changes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import turns
from bench.bare import bare_edge, lane
from bench.figures import Verdict, middle, ratio, ratio_spread, shown, spread
from bench.load import Target
from bench.machine import served_first
from bench.processes import BenchError, Meter
from bench.report import Section, prose, table
from bench.sides import Sides, sides

SECONDS, SLICE = 2.0, 0.2  # of each side: in a round, of a turn


def measure(directory: Path, rounds: int) -> Section:
    with served_first() as how, sides(directory) as both, _asking(directory, both) as asking:
        targets = {"static": both.bare, "static, asks": asking, "full": both.full}
        found = turns.in_turns(targets, knocking, SECONDS, rounds, "handshakes")
    each = {name: [sample.total("edge") for sample in samples] for name, samples in found.items()}
    pair = each["full"], each["static"]
    verdict = Verdict(
        "a TLS handshake's CPU, the edge / a static certificate's",
        ratio(*pair),
        1.1,
        "x",
        off=ratio_spread(*pair),
    )
    rows = [
        [name, shown(middle(cpu)), shown(spread(cpu)), shown(1e6 / middle(cpu))] for name, cpu in each.items()
    ]
    return Section("handshakes", "TLS handshakes", [
        *table(["what", "target", "measured", "verdict"], [verdict.cells()]),
        "",
        *table(["nginx", "CPU us each", "+-", "per second of CPU"], rows),
        "",
        *prose(
            f"Medians of {rounds} rounds of turns of {SLICE:g} s, one connection after the other: opened, TLS 1.3",
            "agreed on with an ECDSA P-256 certificate and no session kept, closed without a request. The edge finds",
            "its certificate by generation, counts handshakes by address, and asks a client for its certificate; the",
            f"static nginx does none of that, or the last alone. It ran {how}.",
        ),
    ])  # fmt: skip


@contextmanager
def _asking(directory: Path, both: Sides) -> Iterator[Target]:
    """The bare edge, but for that it asks: what that costs is no certificate's price."""
    way = lane(directory / "nobody.sock", both.guarded.dns_name)
    with bare_edge(directory / "asking", both.whole.authority, [way], asks=True) as pid:
        yield Target(way.port, both.bare.request, Meter({"edge": pid}))


@contextmanager
def knocking(target: Target) -> Iterator[turns.Turn]:
    """An opening for `turns`: a request is a handshake."""
    argv = [sys.executable, "-m", "bench.knock", str(target.port)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as client:

        def ask(seconds: float) -> int:
            assert client.stdin and client.stdout
            client.stdin.write(f"{seconds:g}\n")
            client.stdin.flush()
            return int(client.stdout.readline())

        def turn(taken: turns.Turns) -> None:
            with turns.metered(target.meter, taken):
                taken.requests += ask(SLICE)

        assert client.stdout
        if client.stdout.readline() != "warm\n":
            raise BenchError("the edge shakes no hands")
        ask(SLICE)
        yield turn
        client.kill()
