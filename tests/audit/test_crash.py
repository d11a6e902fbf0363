"""The collector as a process, killed twenty times while others write: every record exactly once."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from meshward.audit.store import Store
from tests.audit.making import Mesh, edge_bytes, guard_bytes, refused_bytes, unknown_bytes

KILLS = 20

# Edge, guard and refusals in turn, with a rotation now and then, until the file `stop` appears.
WRITER = """
import sys, time
from pathlib import Path
from tests.audit.making import Mesh, append, edge_bytes, guard_bytes, refused_bytes, unknown_bytes
edge, guard, stop = map(Path, sys.argv[1:])
count = 0
while not stop.exists():
    for _ in range(20):
        rid = f"{count:032x}"
        append(edge, edge_bytes(rid) if count % 3 else refused_bytes(rid), unknown_bytes(rid))
        if count % 3:
            append(guard, guard_bytes(rid))
        count += 1
    if count % 400 == 0 and count < 20_000:  # no more names than a log may have
        edge.rename(edge.with_name(f"access.log.{count}"))
    time.sleep(0.02)
print(count)
"""


def collector(mesh: Mesh) -> subprocess.Popen[str]:
    """A collector that has said that it collects."""
    command = [sys.executable, "-m", "meshward.audit", "--run", str(mesh.run), "--state", str(mesh.state)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    line = process.stderr.readline()
    assert "collecting" in line, line
    return process


def test_killed_twenty_times_it_keeps_every_record_once(mesh: Mesh, tmp_path: Path):
    stop = tmp_path / "stop"
    top = str(Path(__file__).parents[2])
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(mesh.edge_log), str(mesh.guard_log), str(stop)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=top,
    )
    dice = random.Random(5)
    try:
        for _ in range(KILLS):
            process = collector(mesh)
            time.sleep(dice.uniform(0, 0.2))  # the moment of the kill: anywhere in a round
            process.kill()
            process.wait()
            assert process.stderr is not None
            process.stderr.close()
    finally:
        stop.touch()
        written = int(writer.communicate()[0])
    last = collector(mesh)
    last.send_signal(signal.SIGTERM)
    said = last.communicate()[1]
    assert last.returncode == 0 and "stopped" in said, said

    store = Store(mesh.state)
    rows = store._db.execute("SELECT rid, count(*), min(agrees) FROM records GROUP BY rid").fetchall()
    assert written > 1000 and len(rows) == written
    assert {row[1:] for row in rows} == {(1, 1)}
    assert sum(tally.count for tally in store.refusals(0)) == written
    assert store.gaps(0) == []
    positions = store.take_positions()
    assert len(positions) > 2 and all(clean for _, clean in positions)
    store.close()


def test_told_to_stop_it_reads_what_is_left(mesh: Mesh):
    process = collector(mesh)
    mesh.edge(*[edge_bytes(f"{n:032x}") for n in range(500)])
    mesh.guard(*[guard_bytes(f"{n:032x}") for n in range(500)])
    process.terminate()
    process.communicate()
    assert process.returncode == 0
    reader = Store.read_only(mesh.state)
    assert reader.records(f"{499:032x}")[0].agrees
    reader.close()


def test_a_damaged_store_is_a_clear_end(mesh: Mesh):
    (mesh.state / "records.sqlite").write_bytes(b"\xa5" * 8192)
    command = [sys.executable, "-m", "meshward.audit", "--run", str(mesh.run), "--state", str(mesh.state)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1
    assert "MW4001" in ended.stderr and "aside" in ended.stderr and "Traceback" not in ended.stderr


def test_lines_of_a_refusal_are_made_as_the_others(mesh: Mesh):
    """The writer's lines are what this file thinks they are."""
    assert b'"facts":""' in unknown_bytes("0" * 32) and b'"layer":"edge"' in refused_bytes("0" * 32)
