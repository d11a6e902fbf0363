"""What was consumed and is not in the store is missed, whoever took it away and however: once, and nothing else is."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
import structlog

from meshward.apply.changes import Changes
from meshward.audit import held as held_module
from meshward.audit import store as store_module
from meshward.audit import tail as tail_module
from meshward.audit.anchor import ALTERED, ANCHOR, ANOTHER, GONE, OLDER, SET_BACK, UNPROVEN
from meshward.audit.places import CHANGES
from meshward.audit.records import FILE, Records, StoreDamaged
from meshward.audit.remains import is_all_read
from meshward.audit.store import Batch, Store, StoreTouched
from meshward.audit.tail import ERASED_UNREAD, REMOVED, punch
from meshward.audit.told import ALARM, alarms, lost_before
from meshward.kit.clock import moment
from tests.audit.making import Mesh, edge_bytes, guard_bytes, new_rid, refused_bytes, unknown_bytes
from tests.audit.test_collector import Running

JOURNAL = f"{FILE}-wal"
EDGE = "edge/access.log"
Files = dict[str, bytes]


@pytest.fixture
def running(mesh: Mesh) -> Iterator[Running]:
    running = Running(mesh)
    yield running
    running.store.close()


def keep(running: Running, count: int = 1) -> list[str]:
    """So many requests that both hops saw, and one that nobody knows."""
    rids = [new_rid() for _ in range(count)]
    running.mesh.edge(*map(edge_bytes, rids), unknown_bytes(new_rid()))
    running.mesh.guard(*map(guard_bytes, rids))
    running.rounds()
    return rids


def files(state: Path) -> Files:
    """What a kill leaves: nothing is closed."""
    return {path.name: path.read_bytes() for path in state.iterdir() if path.name.startswith("records.")}


def begin_from(running: Running, left: Files) -> None:
    """A collector that finds these files where the last one left others."""
    running.store.close()
    for path in running.mesh.state.iterdir():
        path.unlink()
    for name, data in left.items():
        if not name.endswith("-shm"):
            (running.mesh.state / name).write_bytes(data)
    running.start()


def raising(error: BaseException) -> Callable[..., None]:
    def write(*_: object) -> None:
        raise error

    return write


def whys(running: Running) -> list[str]:
    return [loss.why for loss in running.store.losses()]


def test_a_kill_at_any_moment_is_no_loss(running: Running) -> None:
    for _ in range(3):
        keep(running)
        begin_from(running, files(running.mesh.state))
    running.restart()
    assert whys(running) == [] and running.store.span() is not None


def test_a_journal_that_is_gone_is_a_loss_that_says_how_much(running: Running) -> None:
    keep(running, 2)
    running.store.close()
    running.start()
    kept = running.store.losses()
    (lost,) = keep(running)
    left = files(running.mesh.state)
    del left[JOURNAL]
    begin_from(running, left)
    (loss,) = running.store.losses()
    assert kept == [] and running.store.records(lost) == []
    assert (loss.why, loss.counts) == (OLDER, {EDGE: 2, "guards/00/access.log": 1})
    assert loss.since <= loss.until <= running.now
    assert "2 of edge/access.log and 1 of guards/00/access.log lines" in loss.sentence
    running.restart()
    keep(running)
    running.restart()
    assert whys(running) == [OLDER]


def test_an_older_store_that_is_put_back_is_a_loss_each_time(running: Running) -> None:
    keep(running)
    older = files(running.mesh.state)
    for turn in range(1, 3):
        (lost,) = keep(running)
        begin_from(running, {**older, ANCHOR.name: files(running.mesh.state)[ANCHOR.name]})
        assert running.store.records(lost) == [] and len(running.store.losses()) == 1, turn
        keep(running)


@pytest.mark.parametrize("left", [{}, {FILE: b""}], ids=["removed", "empty"])
def test_a_store_that_is_gone_is_a_loss_of_all_that_was_read(running: Running, left: Files) -> None:
    keep(running, 3)
    begin_from(running, {**left, ANCHOR.name: files(running.mesh.state)[ANCHOR.name]})
    (loss,) = running.store.losses()
    assert (loss.why, loss.counts[EDGE]) == (GONE, 4)
    running.restart()
    assert whys(running) == [GONE]


def test_another_instances_store_is_known_for_what_it_is(running: Running, tmp_path: Path) -> None:
    other = Running(Mesh(tmp_path / "other"))
    keep(other)
    theirs = files(other.mesh.state)
    other.store.close()
    keep(running)
    begin_from(running, {**theirs, ANCHOR.name: files(running.mesh.state)[ANCHOR.name]})
    assert whys(running) == [ANOTHER]
    keep(running)
    running.restart()
    assert whys(running) == [ANOTHER]


EDITS = [
    "DELETE FROM records WHERE seq = 2",
    "UPDATE records SET edge = replace(edge, '/embed', '/ember') WHERE seq = 2",
    "UPDATE records SET rid = 'x' WHERE seq = 2",
    "UPDATE records SET seen = seen - 90000 WHERE seq = 2",
    "INSERT INTO records SELECT 99, rid, at, seen, waiting, missing, agrees, reused, subject, model, action, "
    "paid_by, status, refused_by, edge, guard FROM records WHERE seq = 1",
    "UPDATE records SET subject = 'mallory' WHERE seq = 2",
    "UPDATE records SET at = at - 1, seen = seen - 1, status = 403 WHERE seq = 2",
    "UPDATE changes SET author = 'mallory'",
    "UPDATE refusals SET reason = 'quota' WHERE second = (SELECT max(second) FROM refusals)",
    "UPDATE gaps SET source = 'guards/00/access.log'",
    "INSERT INTO ended VALUES ('records', 2000000000, 5)",
    "INSERT INTO losses (noticed, since, until, why, counts) VALUES (1, 1, 1, 'gone', '[')",
    "DELETE FROM records WHERE seq = 2; DELETE FROM kept; ALTER TABLE changes DROP COLUMN seen; ALTER TABLE store DROP "
    "COLUMN passed; ALTER TABLE store DROP COLUMN boot; ALTER TABLE store DROP COLUMN uptime; PRAGMA user_version = 3",
    "DELETE FROM refusals",
    "UPDATE gaps SET count = count + 1",
    "DELETE FROM records; DELETE FROM kept WHERE kind = 'records'",
]


@pytest.mark.parametrize("edit", EDITS)
def test_a_store_that_is_edited_while_nobody_runs_is_a_loss(running: Running, edit: str) -> None:
    keep(running, 3)
    running.mesh.edge(b"no record")
    (running.mesh.run / CHANGES).parent.mkdir()
    Changes(running.mesh.run / CHANGES).note("ann", "apply", {"revision": "2"})
    running.rounds()
    running.store.close()
    with closing(sqlite3.connect(running.mesh.state / FILE)) as db:
        db.executescript(edit)
    running.start()
    (noted,) = [why for why in whys(running) if why != "gone"]
    assert noted == (UNPROVEN if "user_version" in edit else ALTERED)
    keep(running)
    running.restart()
    assert [why for why in whys(running) if why != "gone"] == [noted]


SCHEMAS = [
    "CREATE TRIGGER t BEFORE INSERT ON records BEGIN SELECT RAISE(IGNORE); END",
    "DROP TABLE gaps",
    "DROP INDEX records_rid",
    "ALTER TABLE records ADD COLUMN more TEXT",
    "ALTER TABLE records RENAME TO others; CREATE VIEW records AS SELECT * FROM others",
    "PRAGMA user_version = 2",
    "PRAGMA user_version = 3",
    "PRAGMA user_version = 4",
]


@pytest.mark.parametrize("edit", SCHEMAS)
def test_tables_that_are_not_ours_are_damage(mesh: Mesh, edit: str) -> None:
    """What is written to them could go anywhere, or nowhere; and no table is made anew where one was lost."""
    running = Running(mesh)
    keep(running)
    running.store.close()
    with closing(sqlite3.connect(running.mesh.state / FILE)) as db:
        db.executescript(edit)
    with pytest.raises(StoreDamaged):
        running.start()


NO_FILES: dict[str, Callable[[Path], object]] = {
    "a link": lambda path: path.symlink_to(path.rename(path.with_name("elsewhere"))),
    "a directory": lambda path: (path.unlink(), path.mkdir()),
    "a pipe": lambda path: (path.unlink(), os.mkfifo(path)),
}


@pytest.mark.parametrize("how", NO_FILES)
def test_what_is_no_file_is_damage_that_ends_nobody_else(mesh: Mesh, how: str) -> None:
    """Neither the collector, nor whoever reads at the end what it left, falls over it."""
    running = Running(mesh)
    keep(running)
    mesh.edge(refused_bytes(new_rid()))
    running.store.close()
    NO_FILES[how](mesh.state / FILE)
    with pytest.raises(StoreDamaged, match="no regular file"):
        running.start()
    assert not is_all_read(mesh.run, mesh.state, structlog.get_logger())


def test_a_bit_that_turned_in_an_index_is_damage(mesh: Mesh) -> None:
    """The record is there, and would not be found."""
    running = Running(mesh)
    (rid,) = keep(running)
    running.store.close()
    file = running.mesh.state / FILE
    with closing(sqlite3.connect(file)) as db:
        query = "SELECT rootpage FROM sqlite_master WHERE name = 'records_rid'"
        page, size = db.execute(query).fetchone()[0] - 1, db.execute("PRAGMA page_size").fetchone()[0]
    data = bytearray(file.read_bytes())
    at = data.index(rid.encode(), page * size, (page + 1) * size)
    data[at] ^= 1
    file.write_bytes(data)
    with pytest.raises(StoreDamaged):
        running.start()


def all_gone(state: Path, _: Files) -> None:
    for path in state.iterdir():
        path.unlink()


def all_older(state: Path, older: Files) -> None:
    all_gone(state, older)
    for name, data in older.items():
        (state / name).write_bytes(data)


@pytest.mark.parametrize("attack", [all_gone, all_older])
def test_store_and_anchor_taken_away_together_are_missed_by_what_is_remembered(
    running: Running, attack: Callable[[Path, Files], None]
) -> None:
    keep(running)
    running.store.close()
    older = {name: data for name, data in files(running.mesh.state).items() if not name.endswith("-shm")}
    running.start()
    keep(running, 2)
    running.store.close()
    anchor = ANCHOR.read(running.mesh.state)
    assert anchor is not None
    attack(running.mesh.state, older)
    for _ in range(2):
        running.start(once=anchor.mark)
        assert whys(running) == [SET_BACK], "once"
        keep(running)
        running.store.close()
    running.start()
    (loss,) = running.store.losses()
    assert "may not be in the store" in loss.sentence and "put back" in loss.sentence


def test_who_is_where_they_were_remembered_or_further_has_lost_nothing(running: Running) -> None:
    keep(running)
    mark = ANCHOR.read(running.mesh.state).mark  # type: ignore[union-attr]
    for _ in range(2):
        running.store.close()
        running.start(once=mark)
        assert whys(running) == []
        keep(running)


def test_to_erase_a_loss_is_a_loss(running: Running) -> None:
    keep(running)
    begin_from(running, {ANCHOR.name: files(running.mesh.state)[ANCHOR.name]})
    running.store.close()
    with closing(sqlite3.connect(running.mesh.state / FILE)) as db:
        db.execute("DELETE FROM losses")
        db.commit()
    running.start()
    assert whys(running) == [ALTERED]


@pytest.mark.parametrize("damage", [None, b"", b"{}", b"\xff" * 50])
def test_an_anchor_that_is_gone_proves_nothing_and_is_told(running: Running, damage: bytes | None) -> None:
    keep(running)
    left = files(running.mesh.state)
    del left[ANCHOR.name]
    begin_from(running, left if damage is None else {**left, ANCHOR.name: damage})
    assert whys(running) == [UNPROVEN]
    running.restart()
    assert whys(running) == [UNPROVEN]


def test_an_anchor_that_is_put_back_is_told(running: Running) -> None:
    keep(running)
    anchor = files(running.mesh.state)[ANCHOR.name]
    keep(running)
    keep(running)
    begin_from(running, {**files(running.mesh.state), ANCHOR.name: anchor})
    assert whys(running) == [UNPROVEN]


def test_a_crash_between_the_commit_and_its_anchor_is_no_loss(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(running)
    with monkeypatch.context() as patched:
        patched.setattr(ANCHOR.__class__, "write", raising(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            keep(running)
    begin_from(running, files(running.mesh.state))
    running.rounds()
    assert whys(running) == [] and running.store.gaps(0) == []


def test_without_its_anchor_nothing_is_erased_nor_read_twice(
    mesh: Mesh, running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(running)
    beat, rid = running.heartbeat, new_rid()
    with monkeypatch.context() as patched:
        patched.setattr(ANCHOR.__class__, "write", raising(OSError(28, "No space left on device")))
        mesh.edge(refused_bytes(rid), unknown_bytes(new_rid()))
        for _ in range(3):
            running.rounds()
        assert rid.encode() in mesh.edge_log.read_bytes()
        assert (running.codes(), running.heartbeat) == (["MW4008"], beat)
    running.rounds()
    assert rid.encode() not in mesh.edge_log.read_bytes()
    assert sum(tally.count for tally in running.store.refusals(0)) == 2
    assert len(running.store.records(rid)) == 1


def test_lines_are_erased_only_when_a_power_loss_would_find_their_record(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What lies on the disk at the moment of each erasure is begun from: all is there, and anchored."""
    at_erasure: list[Files] = []

    def watched(fd: int, offset: int, length: int) -> None:
        at_erasure.append(files(running.mesh.state))
        punch(fd, offset, length)

    monkeypatch.setattr(tail_module, "punch", watched)
    rids = keep(running, 3)
    assert running.store._db.execute("PRAGMA synchronous").fetchone() == (
        2,
    )  # each commit is forced to the disk
    assert at_erasure
    for left in at_erasure:
        begin_from(running, left)
        assert all(len(running.store.records(rid)) == 1 for rid in rids) and whys(running) == []


def replaced(state: Path, older: Files) -> None:
    (state / "new").write_bytes(older[FILE])
    (state / "new").rename(state / FILE)
    (state / JOURNAL).unlink()


def removed(state: Path, _: Files) -> None:
    for name in (FILE, JOURNAL, f"{FILE}-shm"):
        (state / name).unlink()


def written_over(state: Path, older: Files) -> None:
    (state / FILE).write_bytes(older[FILE])
    (state / JOURNAL).unlink()


def journal_cut(state: Path, _: Files) -> None:
    os.truncate(state / JOURNAL, 0)


def edited(state: Path, _: Files) -> None:
    with closing(sqlite3.connect(state / FILE)) as db:
        db.execute("DELETE FROM records")
        db.commit()


@pytest.mark.parametrize("attack", [replaced, removed, written_over, journal_cut, edited])
def test_what_happens_to_the_files_under_the_collectors_hands_is_noticed(
    running: Running, attack: Callable[[Path, Files], None]
) -> None:
    keep(running)
    running.restart()
    older = files(running.mesh.state)
    rids = keep(running, 2)
    attack(running.mesh.state, older)
    with pytest.raises(StoreTouched):
        keep(running)
    begin_from(running, files(running.mesh.state))
    assert len(whys(running)) == 1
    assert [running.store.records(rid) for rid in rids] == [[], []]


def test_a_journal_that_is_removed_under_the_collectors_hands_costs_nothing(running: Running) -> None:
    """It still has it open."""
    rids = keep(running, 2)
    (running.mesh.state / JOURNAL).unlink()
    with pytest.raises(StoreTouched, match="journal was removed"):
        running.store.probe()
    begin_from(running, files(running.mesh.state))
    assert [len(running.store.records(rid)) for rid in rids] == [1, 1] and whys(running) == []


def test_lines_that_somebody_else_erased_are_a_gap(mesh: Mesh, running: Running) -> None:
    keep(running)
    rid = new_rid()
    start = mesh.edge_log.stat().st_size
    mesh.edge(refused_bytes(new_rid()))
    length = mesh.edge_log.stat().st_size - start
    mesh.edge(refused_bytes(rid))
    with mesh.edge_log.open("r+b") as file:
        punch(file.fileno(), start, length)
    running.rounds()
    assert len(running.store.records(rid)) == 1
    assert [(gap.where, gap.reason) for gap in running.store.gaps(0)] == [(EDGE, ERASED_UNREAD)]


def test_a_whole_state_that_is_put_back_is_noticed_by_what_is_erased_in_the_logs(running: Running) -> None:
    keep(running)
    before = files(running.mesh.state)
    keep(running)
    begin_from(running, before)
    keep(running)
    assert {gap.reason for gap in running.store.gaps(0)} == {ERASED_UNREAD}


@pytest.mark.parametrize("put_back", [False, True])
def test_a_log_that_is_written_without_a_name_is_a_gap_and_still_read(
    mesh: Mesh, running: Running, put_back: bool
) -> None:
    keep(running)
    with mesh.edge_log.open("ab") as written:
        mesh.edge_log.unlink()
        if put_back:
            mesh.edge_log.touch()
        running.rounds()
        assert running.store.gaps(0) == []
        for tails in running.collector._logs[EDGE].tails.values():
            tails.grew_at = float("-inf")  # quiet for long
        running.rounds()
        rid = new_rid()
        written.write(refused_bytes(rid) + b"\n")
    running.rounds()
    assert len(running.store.records(rid)) == 1
    assert [(gap.where, gap.reason, gap.count) for gap in running.store.gaps(0)] == [(EDGE, REMOVED, 1)]


def test_an_alarm_stands_for_a_day_and_is_told_after(running: Running) -> None:
    keep(running)
    begin_from(running, {ANCHOR.name: files(running.mesh.state)[ANCHOR.name]})
    (loss,) = running.store.losses()
    assert loss.sentence in alarms(running.store, loss.noticed + ALARM)[0]
    assert lost_before(running.store, loss.noticed + ALARM) == []
    assert alarms(running.store, loss.noticed + ALARM + 1) == []
    assert "1 times" in lost_before(running.store, loss.noticed + ALARM + 1)[0]


def test_a_state_that_is_copied_elsewhere_has_lost_nothing(running: Running, tmp_path: Path) -> None:
    keep(running)
    running.store.close()
    shutil.copytree(running.mesh.state, tmp_path / "moved")
    with closing(Store(tmp_path / "moved")) as moved:
        assert moved.losses() == []
    running.start()


def test_the_anchor_holds_nobodys_data(running: Running) -> None:
    keep(running)
    held = json.loads((running.mesh.state / ANCHOR.name).read_text())
    assert set(held) == {"format", "store", "begun", "commits", "at", "lines", "rows", "check"}
    with closing(Records(running.mesh.state)) as reader:
        assert held["rows"]["records"] == 1 and reader.losses() == []


def test_a_hop_that_makes_a_gap_every_second_makes_one_sentence(running: Running) -> None:
    batch, now = Batch(), int(running.now)
    batch.gaps = Counter({(now + n, "guards/00/access.log", "not_a_record"): 2 for n in range(2_000)})
    batch.gaps[now + 9_999, EDGE, "log_gone"] = 1
    running.store.write(batch, running.now)
    first, last = alarms(running.store, running.now)
    assert "guards/00/access.log held lines that are no records (not_a_record), 4000 times" in first
    assert moment(now + 1_999) in first and last.startswith(f"LINES MAY BE LOST: {EDGE} was removed")


def test_a_large_store_is_used_before_all_of_it_is_counted(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes and what is completed meanwhile is neither missed nor counted twice; what was edited before is."""
    monkeypatch.setattr(held_module, "AT_ONCE", 10)
    monkeypatch.setattr(store_module, "_COUNTED", 3)
    half = new_rid()
    running.mesh.edge(edge_bytes(half))
    keep(running, 30)
    running.store.close()
    with closing(sqlite3.connect(running.mesh.state / FILE)) as db:
        db.execute("DELETE FROM records WHERE seq IN (5, 6)")
        db.commit()
    running.start()
    assert whys(running) == []
    running.mesh.guard(guard_bytes(half))
    keep(running, 5)
    rounds = 0
    while not whys(running):
        rounds += 1
        assert rounds < 100
        keep(running)
    assert rounds > 1 and whys(running) == [ALTERED]
    assert running.store.losses()[0].counts == {"records": 2}
    keep(running)
    monkeypatch.setattr(held_module, "AT_ONCE", 10_000)
    running.restart()
    assert whys(running) == [ALTERED]


def test_where_nothing_was_edited_a_late_count_finds_nothing(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(held_module, "AT_ONCE", 10)
    monkeypatch.setattr(store_module, "_COUNTED", 7)
    keep(running, 40)
    for _ in range(2):
        running.restart()
        assert running.store._recount is not None
        for _ in range(12):
            keep(running)
        assert running.store._recount is None and whys(running) == []


def test_records_of_the_format_before_are_kept_and_none_is_missed(running: Running) -> None:
    (rid,) = keep(running)
    running.store.close()
    columns = (
        "changes DROP COLUMN seen",
        *(f"store DROP COLUMN {name}" for name in ("passed", "boot", "uptime")),
    )
    with closing(sqlite3.connect(running.mesh.state / FILE)) as db:
        db.executescript(";".join(f"ALTER TABLE {each}" for each in columns) + "; PRAGMA user_version = 4")
    reader = Records(running.mesh.state)
    assert reader.passed() is None and len(reader.records(rid)) == 1
    reader.close()
    running.wait(5)
    running.start()
    assert whys(running) == [] and len(running.store.records(rid)) == 1
    assert running.store.clock() == pytest.approx(running.now, abs=60)
