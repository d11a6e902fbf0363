"""What the collector takes of the machine: CPU time for each record, and how late a record is there."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import requests
from bench.figures import Verdict, middle, shown, spread
from bench.machine import served_first
from bench.mock import mock_model
from bench.processes import BenchError, cpu_ns, running, wait_for
from bench.replay import pairs_of
from bench.report import Section, prose, say, table
from bench.whole import whole_instance
from meshward.audit.places import HEARTBEAT
from meshward.audit.records import FILE
from meshward.audit.store import Store

SAMPLES = 200  # real requests whose lines are written again and again
MANY = 500_000  # records of a store that has been used for a while
IDLE = 3.0  # seconds
TARGET = 50  # us


@dataclass(frozen=True, slots=True)
class Load:
    """`rate`: requests per second, 0: all at once. `among`: records that are there before."""

    name: str
    rate: int
    seconds: float
    among: int = 0


@dataclass(frozen=True, slots=True)
class Took:
    """For each record: microseconds of CPU time; seconds from the request's end until its record, two percentiles."""

    cpu: float
    p50: float
    p99: float


LOADS = (
    Load("busy, 5,000/s", 5000, 3),
    Load("paced, 200/s", 200, 5),
    Load("15,000 after a pause", 0, 3),
    Load(f"busy, 5,000/s, into a store of {MANY:,}", 5000, 3, MANY),
)


def measure(directory: Path, rounds: int) -> Section:
    with served_first() as how:
        pairs = real_lines(directory)
        took: dict[str, list[Took]] = {load.name: [] for load in LOADS}
        idle = []
        for number in range(rounds):
            for load in LOADS:
                took[load.name].append(once(directory, pairs, load))
            idle.append(at_rest(directory))
            say(
                f"collector {number + 1}/{rounds}: " + ", ".join(f"{t[-1].cpu:.0f} us" for t in took.values())
            )
    return Section("collector", "The collector: a record of each request", _lines(took, idle, how))


def real_lines(directory: Path) -> Path:
    """The lines that an instance's proxies wrote about some requests, in a file that `replay` takes."""
    with mock_model(directory) as mock, whole_instance(directory, mock) as whole:
        target = whole.target(directory, "mock", "/m/mock/embed", requests.prompt())
        collector, logs = whole.roots()["collector"], whole.run.path
        os.kill(collector, signal.SIGSTOP)  # it would erase them
        try:
            target.paced(SAMPLES, 1)
            time.sleep(0.2)  # the guard's buffer
            guards = b"".join(log.read_bytes() for log in logs.glob("guards/*/access.log"))
            pairs = pairs_of((logs / "edge/access.log").read_bytes(), guards)
        finally:
            os.kill(collector, signal.SIGCONT)
    if len(pairs) < SAMPLES // 2:
        raise BenchError(f"of {SAMPLES} requests only {len(pairs)} have both lines")
    file = directory / "pairs"
    file.write_bytes(b"".join(line + b"\n" for pair in pairs for line in pair))
    return file


def once(directory: Path, pairs: Path, load: Load) -> Took:
    """One load on a collector of its own, from its first line until its last record."""
    with _collector(directory, load.among) as (pid, run, state):
        logs = [str(run / "edge/access.log"), str(run / "guards/00/access.log")]
        argv = [sys.executable, "-m", "bench.replay", str(pairs), *logs, str(load.rate), str(load.seconds)]
        before = cpu_ns(pid)
        if not load.rate:
            os.kill(pid, signal.SIGSTOP)
        count = int(subprocess.run(argv, check=True, capture_output=True, text=True).stdout)
        os.kill(pid, signal.SIGCONT)
        records = sqlite3.connect(f"file:{state / FILE}?mode=ro", uri=True)
        whole = "SELECT seen - at FROM records WHERE seq > ? AND agrees AND NOT waiting"
        wait_for(lambda: len(records.execute(whole, (load.among,)).fetchall()) == count, "the records")
        cpu = (cpu_ns(pid) - before) / 1e3 / count
        late = sorted(row[0] for row in records.execute(whole, (load.among,)))
        records.close()
    return Took(cpu, late[count // 2], late[count * 99 // 100])


def at_rest(directory: Path) -> float:
    """Milliseconds of CPU time in a second without any request."""
    with _collector(directory) as (pid, _, _):
        before = cpu_ns(pid)
        time.sleep(IDLE)
        return (cpu_ns(pid) - before) / 1e6 / IDLE


@contextmanager
def _collector(directory: Path, among: int = 0) -> Iterator[tuple[int, Path, Path]]:
    """Its pid, and RUN and STATE of its own: the logs of an edge and one guard, both empty."""
    top = directory / "collector"
    run, state = top / "run", top / "state"
    for each in (run / "edge", run / "guards/00", state):
        each.mkdir(parents=True)
    for log in ("edge", "guards/00"):
        (run / log / "access.log").touch()
    if among:
        shutil.copy(_used(directory, among), state / FILE)
    argv = [sys.executable, "-m", "meshward.audit", "--run", str(run), "--state", str(state)]
    try:
        with running(argv, (run / HEARTBEAT).exists, top / "log") as process:
            yield process.pid, run, state
    finally:
        shutil.rmtree(top)


def _used(directory: Path, records: int) -> Path:
    """A store that holds so many records, made once. They are short: what counts is their place in the index."""
    made = directory / f"used-{records}" / FILE
    if made.exists():
        return made
    made.parent.mkdir()
    Store(made.parent).close()
    db = sqlite3.connect(made)
    columns = "rid, at, seen, waiting, agrees, reused, subject, model, action, paid_by, status"
    rows = ((secrets.token_hex(16), float(n), float(n)) for n in range(records))
    db.executemany(
        f"INSERT INTO records ({columns}) VALUES (?, ?, ?, 0, 1, 0, 's', 'm', 'infer', 'g', 200)",
        rows,
    )
    db.commit()
    db.close()
    return made


def _lines(took: dict[str, list[Took]], idle: Sequence[float], how: str) -> list[str]:
    verdicts = [
        Verdict(f"CPU per record, {name}", middle(t.cpu for t in took[name]), TARGET, "us")
        for name in list(took)[:2]
    ]
    rows = [
        [
            name,
            shown(middle(t.cpu for t in each)),
            shown(spread([t.cpu for t in each])),
            shown(middle(t.p50 for t in each)),
            shown(middle(t.p99 for t in each)),
        ]
        for name, each in took.items()
    ]
    return [
        *table(["what", "target", "measured", "verdict"], [verdict.cells() for verdict in verdicts]),
        "",
        *table(["requests", "CPU us/record", "+-", "late s, p50", "late s, p99"], rows),
        "",
        *prose(
            f"Medians of {len(idle)} rounds. A record is the join of the edge's line and the guard's, in SQLite and",
            "durable; then both lines are erased. The lines are those that an instance wrote, written again under",
            "new request ids as both proxies write: nginx at once, Envoy every 50 ms. `late` is how long after the",
            "request's end the collector read the lines of its record; a moment later readers see it. At rest the",
            f"collector takes {shown(middle(idle))} ms of CPU time a second. All of it runs {how}.",
        ),
    ]
