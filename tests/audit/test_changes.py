"""Changes of the instance are kept as its requests are: each line once, whatever is killed, and old stores go on."""

from __future__ import annotations

import json
import random
import signal
import sqlite3
import threading
import time
from pathlib import Path

import pytest

from meshward.apply.changes import Changes
from meshward.audit.anchor import ANCHOR
from meshward.audit.changes import changes_of
from meshward.audit.lines import Garbage, parse
from meshward.audit.places import CHANGES
from meshward.audit.records import FILE, Records, StoreUnwritable
from meshward.audit.store import Batch, Store
from meshward.audit.tables import VERSION
from meshward.testing.waiting import eventually
from tests.audit.making import Mesh, append, edge, edge_bytes, new_rid
from tests.audit.test_collector import Running
from tests.audit.test_crash import collector

KILLS = 12


def writer(mesh: Mesh) -> Changes:
    path = mesh.run / CHANGES
    path.parent.mkdir(exist_ok=True)
    return Changes(path)


@pytest.fixture
def running(mesh: Mesh):
    running = Running(mesh)
    yield running
    running.store.close()


def test_a_change_is_kept_and_its_line_erased(mesh: Mesh, running: Running):
    with writer(mesh).change("test:op", "apply", {"reason": "because"}):
        running.rounds()
        (begun,) = changes_of(running.store.changes())
        assert begun.outcome == "unfinished"
    running.rounds()
    (change,) = changes_of(running.store.changes())
    assert (change.author, change.did, change.outcome) == ("test:op", "apply", "done")
    assert change.facts == {"reason": "because"}
    assert (mesh.run / CHANGES).read_bytes().strip(b"\0") == b""
    running.restart()
    running.rounds()
    assert len(running.store.changes()) == 2 and running.store.gaps(0) == []


def test_a_proxy_cannot_speak_of_changes_nor_a_change_of_requests(mesh: Mesh, running: Running):
    rid = new_rid()
    claims = {"v": "1", "hop": "control", "id": "f", "rid": rid, "author": "root", "did": "apply"}
    forged = json.dumps({**claims, "outcome": "done", "facts": "{}"}).encode()
    mesh.edge(forged)
    mesh.guard(forged)
    (mesh.run / CHANGES).parent.mkdir()
    append(mesh.run / CHANGES, edge_bytes(rid, id="f", outcome="done"))
    running.rounds()
    assert running.store.changes() == [] and running.store.records(rid) == []
    assert sum(gap.count for gap in running.store.gaps(0)) == 3


@pytest.mark.parametrize("outcome", ["", "Done", "x"])
def test_an_unknown_outcome_is_no_record(outcome: str):
    (line,) = parse(f'{{"v":"1","hop":"control","id":"f","outcome":"{outcome}"}}'.encode(), "control")
    assert isinstance(line, Garbage)


def test_the_collector_killed_again_and_again_keeps_each_line_once(mesh: Mesh):
    changes, stop, made = writer(mesh), threading.Event(), list[int]()

    def write() -> None:
        while not stop.is_set():
            with changes.change("test:op", "apply", {"number": str(len(made))}):
                pass
            made.append(1)
            time.sleep(0.002)

    thread = threading.Thread(target=write)
    thread.start()
    dice = random.Random(7)
    try:
        for _ in range(KILLS):
            process = collector(mesh)
            time.sleep(dice.uniform(0, 0.2))  # the moment of the kill: anywhere in a round
            process.kill()
            process.wait()
            assert process.stderr is not None
            process.stderr.close()
        eventually(lambda: len(made) > 100, what="many changes")
    finally:
        stop.set()
        thread.join()
    last = collector(mesh)
    last.send_signal(signal.SIGTERM)
    last.communicate()
    records = Records(mesh.state)
    lines = records.changes()
    found = changes_of(lines)
    assert len(lines) == 2 * len(made)
    assert [change.facts["number"] for change in found] == [str(n) for n in range(len(made))]
    assert {change.outcome for change in found} == {"done"} and records.gaps(0) == []
    records.close()


def old_store(directory: Path, rid: str) -> None:
    """A store as the format 1 was, with one record."""
    store = Store(directory)
    store.write(Batch(edges=[edge(rid)]), 0.0)
    later = ("changes", "store", "consumed", "kept", "losses", "ended")
    store._db.executescript("".join(f"DROP TABLE {table};" for table in later) + "PRAGMA user_version = 1;")
    store.close()
    (directory / ANCHOR.name).unlink(missing_ok=True)


def test_an_old_store_is_read_and_then_written_on_with_all_its_records(tmp_path: Path):
    rid = new_rid()
    old_store(tmp_path, rid)
    reader = Records(tmp_path)
    assert len(reader.records(rid)) == 1 and reader.changes() == []
    reader.close()
    store = Store(tmp_path)
    assert len(store.records(rid)) == 1 and store.changes() == [] and store.noticed == []
    store.close()
    assert sqlite3.connect(tmp_path / FILE).execute("PRAGMA user_version").fetchone() == (VERSION,)


class Cut(sqlite3.Connection):
    """Ends between the new table and the new number."""

    def execute(self, sql: str, *more: object) -> sqlite3.Cursor:  # type: ignore[override]
        if sql == "PRAGMA user_version = 2":
            raise sqlite3.OperationalError("disk I/O error")
        return super().execute(sql, *more)  # type: ignore[arg-type]


def test_a_migration_that_is_cut_short_leaves_the_old_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    rid = new_rid()
    old_store(tmp_path, rid)
    with monkeypatch.context() as patched:
        connect = sqlite3.connect
        patched.setattr(sqlite3, "connect", lambda *a, **k: connect(*a, **k, factory=Cut))
        with pytest.raises(StoreUnwritable):
            Store(tmp_path)
    store = Store(tmp_path)
    assert len(store.records(rid)) == 1 and store.changes() == []
    store.close()
