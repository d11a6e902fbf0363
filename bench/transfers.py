"""What a large body and a long stream cost: a chunked upload of 2 MB, and an answer of 500 events one by one."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from bench import requests, turns
from bench.figures import Sample, middle, ratio, ratio_spread, shown, spread
from bench.load import Target
from bench.machine import served_first
from bench.path import PATH
from bench.processes import running
from bench.report import Section, prose, table
from bench.sides import Sides, sides
from bench.streaming import EVENTS, GAP
from meshward.testing.recorder import SERVERS_GID

UPLOAD, PIECE = 2_000_000, 16_384  # bytes: of the body, of a chunk
UPLOADERS, UPLOADING = 4, 2.0  # connections, seconds of each side in a round
STREAMS, STREAMING = 8, 4.0  # begun per second, seconds of each side in a round
KINDS = {
    "upload": f"a chunked upload of {UPLOAD // 1_000_000} MB, busy with {UPLOADERS} connections",
    "stream": f"an answer of {EVENTS} events, {STREAMS} begun per second",
}
Rounds = Mapping[str, list[Sample]]


def measure(directory: Path, rounds: int) -> Section:
    with served_first() as how, sides(directory) as both, _model(both):
        found = {"upload": _uploads(both, rounds), "stream": _streams(both, rounds)}
    head = ["transfer", "side", "edge", "guard", "both", "+-", "/ bare", "+-", "collector"]
    rows = [[KINDS[kind], side, *_row(each, side)] for kind, each in found.items() for side in each]
    return Section("transfers", "Large bodies and streams", [
        *table(head, rows),
        "",
        *prose(
            f"Microseconds of CPU time per request, medians of {rounds} rounds of turns. The body goes in chunks of",
            f"{PIECE // 1024} KB and is digested by the edge; an event of {len(requests.event(0))} bytes comes each",
            f"{GAP * 1e3:g} ms, so that each is read, digested and passed on by itself. All of it runs {how}.",
        ),
    ])  # fmt: skip


@contextmanager
def _model(both: Sides) -> Iterator[None]:
    """What the mock passes a stream's request to."""
    gid, log = str(SERVERS_GID) if os.geteuid() == 0 else "-", both.directory / "streaming.log"
    argv = [sys.executable, "-m", "bench.streaming", gid, str(both.mock.streaming)]
    with running(argv, lambda: "serving" in log.read_text(), log):
        yield


def _uploads(both: Sides, rounds: int) -> Rounds:
    body = requests.upload(UPLOAD)
    targets = both.sending("upload", requests.chunked("/m/mock/v1/embeddings", body, _token(both), PIECE))
    _prove(targets)
    return turns.in_turns(targets, turns.busy(UPLOADERS), UPLOADING, rounds, "transfers, upload")


def _streams(both: Sides, rounds: int) -> Rounds:
    targets = both.sending("stream", requests.post("/m/mock/v1/completions", requests.prompt(), _token(both)))
    _prove(targets)
    return turns.in_turns(
        targets, turns.paced(STREAMS, STREAMING / 2), STREAMING, rounds, "transfers, stream"
    )


def _token(both: Sides) -> dict[str, str]:
    return {"Authorization": f"Bearer {both.whole.token}"}


def _prove(targets: Mapping[str, Target]) -> None:
    """Raises BenchError unless both sides serve it."""
    for side, target in targets.items():
        target.must_serve(side, f"; it is {target.request.name}")


def _row(found: Rounds, side: str) -> list[str]:
    both, bare = ([sample.total(*PATH) for sample in found[name]] for name in (side, "bare"))
    parts = [middle(sample.total(part) for sample in found[side]) for part in (*PATH, "collector")]
    figures = [*parts[:2], middle(both), spread(both), ratio(both, bare), ratio_spread(both, bare)]
    return [*map(shown, figures), shown(parts[2]) if side == "full" else ""]
