"""What an ended instance's logs still hold becomes records before they are removed, or they are not removed."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import structlog

from meshward.audit.collector import Collector
from meshward.audit.places import ALL_READ
from meshward.audit.records import FILE
from meshward.audit.remains import is_all_read
from meshward.audit.store import Store
from tests.audit.making import Mesh, edge_bytes, guard_bytes, new_rid

LOG: Any = structlog.get_logger()


def collect(mesh: Mesh) -> None:
    """As a collector does that is told to stop."""
    stop = threading.Event()
    stop.set()
    collector = Collector(mesh.run, Store(mesh.state), LOG)
    collector.run(stop)
    collector.close()


def test_a_collector_that_was_told_to_stop_leaves_nothing_to_look_for(mesh: Mesh) -> None:
    rid = new_rid()
    mesh.edge(edge_bytes(rid))
    mesh.guard(guard_bytes(rid))
    collect(mesh)
    (mesh.state / FILE).unlink()
    assert is_all_read(mesh.run, mesh.state, LOG)
    assert not (mesh.state / FILE).exists(), "the store was opened, which reads all of it"


def test_nothing_was_ever_written(mesh: Mesh) -> None:
    assert is_all_read(mesh.run, mesh.state, LOG) and not (mesh.state / FILE).exists()
    assert is_all_read(mesh.run / "none", mesh.state, LOG)


def test_what_a_killed_collector_left_is_read_and_half_a_line_is_counted(mesh: Mesh) -> None:
    rids = [new_rid() for _ in range(3)]
    mesh.edge(*map(edge_bytes, rids))
    mesh.guard(*map(guard_bytes, rids))
    with mesh.guard_log.open("ab") as log:
        log.write(guard_bytes(new_rid())[:40])
    assert is_all_read(mesh.run, mesh.state, LOG)
    store = Store.read_only(mesh.state)
    assert all(len(store.records(rid)) == 1 for rid in rids)
    assert [(gap.where, gap.count) for gap in store.gaps(0)] == [("guards/00/access.log", 1)]


def test_logs_stay_where_records_cannot_be_kept(mesh: Mesh) -> None:
    mesh.edge(edge_bytes(new_rid()))
    before = mesh.edge_log.read_bytes()
    (mesh.state / FILE).write_bytes(b"noise" * 1000)
    assert not is_all_read(mesh.run, mesh.state, LOG)
    assert mesh.edge_log.read_bytes() == before and not (mesh.run / ALL_READ).exists()


def test_a_new_log_that_gets_the_number_of_a_removed_one_is_no_gap(mesh: Mesh) -> None:
    """File systems give numbers out again: here one that was all read is emptied and written anew."""
    for lines in (4, 2, 7):
        rids = [new_rid() for _ in range(lines)]
        for log in (mesh.edge_log, mesh.guard_log):
            emptied(log)
        mesh.edge(*map(edge_bytes, rids))
        mesh.guard(*map(guard_bytes, rids))
        collect(mesh)
        store = Store.read_only(mesh.state)
        assert all(len(store.records(rid)) == 1 for rid in rids)
        assert store.gaps(0) == []


def emptied(log: Path) -> None:
    with log.open("ab") as file:
        file.truncate(0)
