"""From files to records: everything once, whatever happens to the files, the store or the collector."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from meshward.audit import collector as collector_module
from meshward.audit import records as records_module
from meshward.audit.anchor import Mark
from meshward.audit.collector import Collector
from meshward.audit.places import CONTROL, HEARTBEAT
from meshward.audit.quarantine import Shut, save_quarantine
from meshward.audit.records import Records
from meshward.audit.store import Store
from meshward.audit.tail import READ
from meshward.kit.boot import Moment
from meshward.kit.errors import MeshwardError
from tests.audit.making import (
    Mesh,
    append,
    edge_bytes,
    facts_text,
    guard_bytes,
    new_rid,
    refused_bytes,
    unknown_bytes,
)
from tests.stack.running import eventually


class Running:
    """A collector in this process, driven round by round."""

    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh
        self.said = structlog.testing.LogCapture()
        self.now, self.up, self.boot = time.time(), 50_000.0, "one"
        self.start()

    def wait(self, seconds: float) -> None:
        """Time passes, by both clocks."""
        self.now += seconds
        self.up += seconds

    def moment(self) -> Moment:
        return Moment(self.now, self.boot, self.up)

    def start(self, once: Mark | None = None) -> None:
        self.store = Store(self.mesh.state, once=once, moment=self.moment)
        log = structlog.wrap_logger(None, processors=[self.said])
        self.collector = Collector(self.mesh.run, self.store, log, clock=lambda: self.now)

    def rounds(self) -> None:
        """Until nothing is left, looking for new files each time."""
        self.collector._looked = self.collector._beaten = float("-inf")
        while self.collector.round():
            pass

    def restart(self) -> None:
        """As after `kill -9`: nothing is flushed or said."""
        self.store.close()
        self.start()

    def codes(self) -> list[str]:
        return [entry["code"] for entry in self.said.entries]

    @property
    def heartbeat(self) -> float:
        return (self.mesh.run / HEARTBEAT).stat().st_mtime


@pytest.fixture
def running(mesh: Mesh) -> Iterator[Running]:
    running = Running(mesh)
    yield running
    running.store.close()


def test_two_lines_become_a_record_and_are_erased(mesh: Mesh, running: Running):
    rid = new_rid()
    mesh.edge(edge_bytes(rid))
    mesh.guard(guard_bytes(rid))
    running.rounds()
    (record,) = running.store.records(rid)
    assert record.agrees
    for path in (mesh.edge_log, mesh.guard_log):
        assert path.read_bytes().strip(b"\0") == b""


def test_raw_lines_stay_until_their_record_is_durable(
    mesh: Mesh, running: Running, monkeypatch: pytest.MonkeyPatch
):
    rid = new_rid()
    mesh.edge(edge_bytes(rid))
    with monkeypatch.context() as patched:
        patched.setattr(records_module, "_BUSY_MS", 50)
        running.restart()
        other = sqlite3.connect(running.store.path, isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        running.rounds()
        assert rid.encode() in mesh.edge_log.read_bytes()
        other.execute("ROLLBACK")
    running.rounds()
    assert rid.encode() not in mesh.edge_log.read_bytes()
    assert len(running.store.records(rid)) == 1


@pytest.mark.parametrize("erases", [True, False])
def test_a_crash_between_storing_and_erasing_counts_nothing_twice(
    mesh: Mesh, running: Running, monkeypatch: pytest.MonkeyPatch, erases: bool
):
    if not erases:
        monkeypatch.setattr("meshward.audit.tail.punch", _refuse)
    known = new_rid()
    mesh.edge(refused_bytes(known), *[unknown_bytes(new_rid()) for _ in range(7)])
    with monkeypatch.context() as patched:
        patched.setattr(Collector, "_advance", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            running.rounds()
    assert known.encode() in mesh.edge_log.read_bytes()
    running.restart()
    running.rounds()
    assert len(running.store.records(known)) == 1
    assert sum(tally.count for tally in running.store.refusals(0)) == 7
    assert running.store.gaps(0) == []
    assert (known.encode() in mesh.edge_log.read_bytes()) is not erases


def test_a_locked_store_stops_the_heartbeat_not_the_collector(
    mesh: Mesh, running: Running, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(records_module, "_BUSY_MS", 50)
    running.restart()
    running.rounds()
    os.utime(mesh.run / HEARTBEAT, (1, 1))
    other = sqlite3.connect(running.store.path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    running.rounds()  # nothing to read, yet nothing could be kept either
    mesh.edge(edge_bytes(new_rid()))
    running.rounds()
    running.rounds()
    assert running.heartbeat == 1 and running.codes() == ["MW4005"]
    other.execute("ROLLBACK")
    running.rounds()
    assert running.heartbeat > 1
    other.execute("BEGIN EXCLUSIVE")
    running.rounds()
    assert running.codes() == ["MW4005", "MW4005"]  # said again: it was mended in between


def test_refusals_of_a_known_identity_are_records_and_others_counts(mesh: Mesh, running: Running):
    known = new_rid()
    mesh.edge(refused_bytes(known), *[unknown_bytes(new_rid(), "token_expired") for _ in range(50)])
    running.rounds()
    (record,) = running.store.records(known)
    assert (record.refused_by, record.agrees, record.waiting) == ("edge", True, False)
    tallies = running.store.refusals(0)
    assert {(t.where, t.reason) for t in tallies} == {("edge", "token_expired")}
    assert sum(t.count for t in tallies) == 50


def test_an_insiders_call_straight_to_the_guard_is_a_record_of_its_own(mesh: Mesh, running: Running):
    rid, insider = new_rid(), "spiffe://mesh.example/model/other"
    mesh.guard(
        guard_bytes(rid, peer=insider, status="403"), guard_bytes("Not-An-Id", peer=insider, uid="u-7")
    )
    mesh.edge(edge_bytes(rid))
    running.rounds()
    mesh.guard(guard_bytes(rid))
    running.rounds()
    records = running.store.records(rid)
    assert [record.agrees for record in records] == [True, False]
    assert records[0].guard is not None and records[0].guard.peer != insider
    assert records[1].guard is not None and records[1].guard.peer == insider
    rows = running.store._db.execute("SELECT count(*) FROM records WHERE rid LIKE 'stray-%'").fetchone()
    assert rows == (1,)


def test_a_compromised_guard_cannot_write_the_edges_lines(mesh: Mesh, running: Running):
    rid = new_rid()
    mesh.guard(edge_bytes(rid, facts=facts_text(sub="okta:root")))
    running.rounds()
    assert running.store.records(rid) == []
    assert [gap.reason for gap in running.store.gaps(0)] == ["wrong_hop"]


def test_a_late_half_is_missing_after_ten_seconds(mesh: Mesh, running: Running):
    rid = new_rid()
    mesh.edge(edge_bytes(rid))
    running.rounds()
    assert running.store.records(rid)[0].waiting
    running.wait(11)
    running.rounds()
    (record,) = running.store.records(rid)
    assert (record.waiting, record.missing) == (False, "guard")


def test_a_half_does_not_go_missing_while_its_other_waits_to_be_read(mesh: Mesh, running: Running):
    """Stopped for ten minutes: everything is read before anything is called missing."""
    rid = new_rid()
    mesh.edge(edge_bytes(rid))
    running.rounds()
    more = READ // len(guard_bytes(rid)) + 1  # than one look reads
    mesh.guard(*[guard_bytes(new_rid()) for _ in range(more)], guard_bytes(rid))
    running.wait(600)
    running.collector._looked = float("-inf")
    assert running.collector.round()  # more waits
    assert running.store.records(rid)[0].waiting
    running.rounds()
    assert running.store.records(rid)[0].agrees


def test_torn_lines_leave_a_gap_and_nothing_else_is_lost(mesh: Mesh, running: Running):
    rids = [new_rid() for _ in range(3)]
    torn = edge_bytes(new_rid())[:150]
    mesh.edge(edge_bytes(rids[0]), torn + edge_bytes(rids[1]), edge_bytes(rids[2]))
    running.rounds()
    assert all(len(running.store.records(rid)) == 1 for rid in rids)
    (gap,) = running.store.gaps(0)
    assert (gap.where, gap.reason, gap.count) == ("edge/access.log", "not_a_record", 1)


def test_rotation_by_renaming_loses_and_doubles_nothing(mesh: Mesh, running: Running):
    rids = []
    for turn in range(4):
        for _ in range(5):
            rids.append(new_rid())
            mesh.edge(refused_bytes(rids[-1]))
        if turn % 2:
            running.restart()
        running.rounds()
        rids.append(new_rid())
        mesh.edge(refused_bytes(rids[-1]))
        for number in range(turn, 0, -1):
            mesh.edge_log.with_name(f"access.log.{number}").rename(
                mesh.edge_log.with_name(f"access.log.{number + 1}")
            )
        mesh.edge_log.rename(mesh.edge_log.with_name("access.log.1"))
    running.rounds()
    assert [len(running.store.records(rid)) for rid in rids] == [1] * len(rids)
    assert running.store.gaps(0) == []


@pytest.mark.parametrize("erases", [True, False])
def test_rotation_by_copying_loses_and_doubles_no_record(
    mesh: Mesh, running: Running, monkeypatch: pytest.MonkeyPatch, erases: bool
):
    if not erases:
        monkeypatch.setattr("meshward.audit.tail.punch", _refuse)
    read, unread, after = ([new_rid() for _ in range(5)] for _ in range(3))
    mesh.edge(*map(refused_bytes, read))
    running.rounds()
    mesh.edge(*map(refused_bytes, unread))
    shutil.copy(mesh.edge_log, mesh.edge_log.with_name("access.log.1"))
    os.truncate(mesh.edge_log, 0)
    mesh.edge(*map(refused_bytes, after))
    running.rounds()
    assert [len(running.store.records(rid)) for rid in read + unread + after] == [1] * 15
    assert [gap.reason for gap in running.store.gaps(0)] == ["log_truncated"]
    assert running.codes() == ([] if erases else ["MW4007"])


def _refuse(*_: object) -> None:
    raise OSError(95, "not supported")


def test_guards_come_and_go(mesh: Mesh, running: Running):
    running.rounds()
    rid, other = new_rid(), new_rid()
    late = mesh.run / "guards" / "41" / "access.log"
    late.parent.mkdir()
    append(late, guard_bytes(rid))
    mesh.edge(edge_bytes(rid))
    running.rounds()
    assert running.store.records(rid)[0].agrees
    shutil.rmtree(late.parent)
    mesh.edge(refused_bytes(other))
    running.rounds()
    assert len(running.store.records(other)) == 1


def test_a_log_deleted_behind_the_collectors_back_is_a_gap(mesh: Mesh, running: Running):
    mesh.edge(refused_bytes(new_rid()))
    running.rounds()
    running.store.close()
    mesh.edge(refused_bytes(new_rid()))
    mesh.edge_log.unlink()
    running.start()
    running.rounds()
    assert [(gap.where, gap.reason) for gap in running.store.gaps(0)] == [("edge/access.log", "log_gone")]


def test_a_log_deleted_after_a_clean_stop_is_none(mesh: Mesh, running: Running):
    mesh.edge(refused_bytes(new_rid()))
    running.rounds()
    running.collector.close()
    shutil.rmtree(mesh.run)
    (mesh.run / "edge").mkdir(parents=True)
    running.start()
    running.rounds()
    assert running.store.gaps(0) == [] and running.store.take_positions() == []


def test_a_log_that_is_a_link_stops_the_heartbeat_and_nothing_else(mesh: Mesh, running: Running):
    rid = new_rid()
    precious = mesh.state / "ca.key"
    precious.write_bytes(b"precious\n")
    mesh.guard_log.symlink_to(precious)
    mesh.edge(refused_bytes(rid))
    mesh.edge_log.with_name("access.log.1").symlink_to(precious)
    running.rounds()
    running.rounds()
    assert precious.read_bytes() == b"precious\n"
    assert len(running.store.records(rid)) == 1
    assert not (mesh.run / HEARTBEAT).exists() and running.codes() == ["MW4008"]


def test_a_guards_log_that_is_none_closes_all_only_where_nobody_shuts_the_guard_away(
    mesh: Mesh, running: Running, monkeypatch: pytest.MonkeyPatch
):
    """Until then the edge's lines are records of its requests; afterwards nobody is sent to it."""
    (mesh.run / CONTROL).mkdir()
    mesh.guard_log.symlink_to("/nowhere")
    running.rounds()
    assert (mesh.run / HEARTBEAT).exists() and running.codes() == []
    later = time.monotonic() + 60
    monkeypatch.setattr(collector_module.time, "monotonic", lambda: later)
    before = (mesh.run / HEARTBEAT).stat().st_mtime_ns
    running.rounds()
    assert running.codes() == ["MW4008"] and (mesh.run / HEARTBEAT).stat().st_mtime_ns == before
    save_quarantine(mesh.run / CONTROL, {"guards/01": Shut("another guard", "it is none", 0.0)})
    later += 60
    running.rounds()
    assert (mesh.run / HEARTBEAT).stat().st_mtime_ns == before
    save_quarantine(mesh.run / CONTROL, {"guards/00": Shut("it", "a link", 0.0)})
    later += 60
    running.rounds()
    assert (mesh.run / HEARTBEAT).stat().st_mtime_ns > before


def test_the_heartbeat_goes_on_when_there_is_nothing_to_read(mesh: Mesh, running: Running):
    running.rounds()
    os.utime(mesh.run / HEARTBEAT, (1, 1))
    running.rounds()
    assert running.heartbeat > 1


def test_a_half_written_last_line_is_no_reason_to_stand_still(mesh: Mesh, running: Running):
    mesh.edge_log.write_bytes(refused_bytes(new_rid())[:80])
    running.rounds()
    os.utime(mesh.run / HEARTBEAT, (1, 1))
    running.rounds()
    assert running.heartbeat > 1


def test_a_full_disk_stops_the_heartbeat(mesh: Mesh, running: Running, monkeypatch: pytest.MonkeyPatch):
    running.rounds()
    os.utime(mesh.run / HEARTBEAT, (1, 1))
    with monkeypatch.context() as patched:
        patched.setattr(collector_module, "_ROOM", 1 << 60)
        running.rounds()
        assert running.heartbeat == 1 and running.codes() == ["MW4008"]
    running.rounds()
    assert running.heartbeat > 1


def test_the_heartbeat_says_what_was_read_and_nobody_elses_business(mesh: Mesh, running: Running):
    mesh.edge(refused_bytes(new_rid()))
    size = mesh.edge_log.stat().st_size
    running.rounds()
    path = mesh.run / HEARTBEAT
    assert json.loads(path.read_text()) == {"read": size, "lag": 0, "at": running.now}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_its_own_log_holds_nobodys_data(mesh: Mesh, running: Running):
    mesh.edge_log.with_name("access.log.1").mkdir()
    mesh.edge(edge_bytes(new_rid()), edge_bytes(new_rid())[:-1], b"alice@example.com")
    running.rounds()
    said = json.dumps(running.said.entries)
    assert "MW4008" in said and "okta" not in said and "alice" not in said and "127.0.0.1" not in said


def test_a_record_is_there_without_being_asked_for(mesh: Mesh):
    stop = threading.Event()
    log = structlog.wrap_logger(None, processors=[structlog.testing.LogCapture()])
    failures: list[BaseException] = []

    def collect() -> None:
        try:
            store = Store(mesh.state)
            Collector(mesh.run, store, log).run(stop)
            store.close()
        except BaseException as error:
            failures.append(error)

    mesh.edge(refused_bytes(new_rid()))
    mesh.guard(guard_bytes(new_rid()))
    thread = threading.Thread(target=collect)
    thread.start()
    try:
        reader = _reader(mesh.state)
        for _ in range(5):
            rid = new_rid()
            mesh.edge(edge_bytes(rid))
            mesh.guard(guard_bytes(rid))
            eventually(lambda r=rid: any(record.agrees for record in reader.records(r)), what="the record")  # type: ignore[misc]
    finally:
        stop.set()
        thread.join()
    assert failures == []


def _reader(state: Path) -> Records:
    def opened() -> Records | None:
        try:
            return Store.read_only(state)
        except MeshwardError:
            return None

    found: Records = eventually(opened, what="the store")
    return found
