"""Records end when their time is over, and for nothing else; what ended is told, and nothing is missed by it."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from meshward.audit import retention, store
from meshward.audit.anchor import ANCHOR
from meshward.audit.keeping import KEEPING, Keeping, KeepingFile
from meshward.audit.lines import BEGUN, ChangeLine
from meshward.audit.passed import Passed
from meshward.audit.store import Batch
from meshward.kit.boot import Moment
from tests.audit.making import Mesh, edge_bytes, guard_bytes, new_rid, unknown_bytes
from tests.audit.test_collector import Running
from tests.audit.test_losses import begin_from, files, keep, whys

HOUR, DAY = 3600, 86_400


@pytest.fixture
def running(mesh: Mesh) -> Iterator[Running]:
    running = Running(mesh)
    running.now = running.now // HOUR * HOUR + 60.0
    yield running
    running.store.close()


def keeping(running: Running, retention: int | None = DAY, max_disk: int | None = None) -> None:
    control = running.mesh.run / "control"
    control.mkdir(exist_ok=True)
    KEEPING.write(control, Keeping(retention, max_disk))


def pass_time(running: Running, seconds: float) -> None:
    running.wait(seconds)
    running.collector._look_for_old = float("-inf")
    running.rounds()


def there(running: Running, rids: list[str]) -> int:
    return sum(len(running.store.records(rid)) for rid in rids)


def test_records_end_with_the_hour_in_which_their_time_is_over_and_not_before(running: Running) -> None:
    keeping(running)
    old = keep(running, 3)
    pass_time(running, HOUR)
    young = keep(running, 2)
    pass_time(running, DAY - HOUR - 61)
    assert (there(running, old), there(running, young)) == (3, 2)
    pass_time(running, HOUR + 61)
    assert (there(running, old), there(running, young)) == (0, 2)
    until, rows = running.store.ended()["records"]
    assert (until, rows) == ((running.now - DAY) // HOUR * HOUR, 3)
    pass_time(running, HOUR)
    assert there(running, young) == 0 and running.store.ended()["records"][1] == 5


def test_counts_gaps_and_changes_end_as_well_and_losses_do_not(running: Running) -> None:
    keeping(running)
    keep(running)
    begin_from(running, {ANCHOR.name: files(running.mesh.state)[ANCHOR.name]})
    batch = Batch(changes=[ChangeLine("c", f"{running.now:.3f}", "ann", "apply", BEGUN, "{}")])
    batch.refusals[(int(running.now), "edge", "no_credentials")] = 2
    batch.gaps[(int(running.now), "edge/access.log", "log_gone")] = 1
    running.store.write(batch, running.now)
    pass_time(running, DAY + HOUR)
    assert running.store.changes() == running.store.refusals(0) == running.store.gaps(0) == []
    assert len(running.store.losses()) == 1
    assert {kind: rows for kind, (_, rows) in running.store.ended().items()} == {
        "changes": 1, "refusals": 2, "gaps": 1,
    }  # fmt: skip
    running.restart()
    assert len(running.store.losses()) == 1


def test_what_a_hop_says_of_the_time_ends_nothing_and_keeps_nothing(mesh: Mesh, running: Running) -> None:
    keeping(running)
    ancient, future = new_rid(), new_rid()
    mesh.edge(edge_bytes(ancient, t="1.0"), edge_bytes(future, t="99999999999"))
    mesh.guard(guard_bytes(ancient, t="1.0"), guard_bytes(future, t="99999999999"))
    running.rounds()
    pass_time(running, DAY - HOUR)
    assert there(running, [ancient, future]) == 2
    pass_time(running, 2 * HOUR)
    assert there(running, [ancient, future]) == 0


YEARS = 3_000 * DAY


def note(running: Running) -> None:
    """A change, at the time that the machine's clock shows."""
    change = ChangeLine("c", f"{running.now:.3f}", "ann", "apply", BEGUN, "{}")
    running.store.write(Batch(changes=[change]), running.now, running.store.clock())


@pytest.mark.parametrize("meanwhile", ["runs", "restarts", "boots"])
@pytest.mark.parametrize("leap", [YEARS, -YEARS, -time.time()], ids=["ahead", "back", "1970"])
def test_no_record_ends_or_stays_because_the_clock_was_set(
    running: Running, leap: float, meanwhile: str
) -> None:
    """Neither one from before, nor one from while it was wrong, nor one from after it was put right."""
    keeping(running, 10 * DAY)
    note(running)
    before = keep(running, 2)
    pass_time(running, 4 * HOUR)
    running.now += leap
    if meanwhile == "boots":
        running.boot, running.up = "two", 60.0
    if meanwhile != "runs":
        running.restart()
    during = keep(running, 2)
    note(running)
    pass_time(running, 4 * HOUR)
    assert (there(running, before), there(running, during)) == (2, 2)
    running.now -= leap
    after = keep(running, 2)
    pass_time(running, 4 * HOUR)
    assert [there(running, each) for each in (before, during, after)] == [2, 2, 2]
    assert len(running.store.changes()) == 2
    pass_time(running, 10 * DAY - 10 * HOUR)
    assert (there(running, before), there(running, after)) == (0, 2)
    pass_time(running, DAY)
    assert [there(running, each) for each in (before, during, after)] == [0, 0, 0]
    assert running.store.changes() == []


def test_a_waiting_half_is_given_up_although_the_clock_went_back(mesh: Mesh, running: Running) -> None:
    rid = new_rid()
    mesh.edge(edge_bytes(rid))
    running.rounds()
    running.now -= YEARS
    running.up += 11
    running.rounds()
    (record,) = running.store.records(rid)
    assert not record.waiting and record.missing == "guard"


@pytest.mark.parametrize(("off", "passed"), [(5 * HOUR, 5 * HOUR), (YEARS, DAY), (-YEARS, 0)])
def test_of_the_time_in_which_the_machine_was_off_a_day_is_believed(off: float, passed: float) -> None:
    last = Passed(1_000_000.0, Moment(2_000_000.0, "one", 77.0))
    now = Moment(2_000_000.0 + off + 40, "two", 40.0)
    assert last.to(now) == Passed(1_000_000.0 + passed + 40, now)


def test_within_one_boot_the_time_that_nothing_ran_counts_whatever_the_clock_says() -> None:
    last = Passed(5.0, Moment(9.0, "one", 77.0))
    assert last.to(Moment(-YEARS, "one", 77.0 + 90 * DAY)).clock == 5.0 + 90 * DAY
    assert last.to(Moment(9.0, "one", 3.0)).clock == 5.0, "a clock of another place: nothing can be said"


def test_a_machine_that_does_not_name_its_boot_is_believed_a_day() -> None:
    last = Passed(5.0, Moment(9.0, "", 0.0))
    assert last.to(Moment(9.0 + HOUR, "one", YEARS)).clock == 5.0 + HOUR
    assert last.to(Moment(9.0 + YEARS, "one", YEARS)).clock == 5.0 + DAY


def test_a_clock_that_was_set_is_told_and_one_that_was_put_right_is_not() -> None:
    last = Passed(1_000.0, Moment(1_000.0, "one", 0.0))
    assert "set ahead by 3000 days" in last.set_sentence(Moment(1_000.0 + YEARS, "one", 5.0))
    assert "set back by 5 h" in last.set_sentence(Moment(1_000.0 - 5 * HOUR, "one", 5.0))
    assert last.set_sentence(Moment(1_000.0 + 600, "one", 0.0)) == ""


def test_while_nobody_asks_the_time_that_passes_is_written_down_all_the_same(running: Running) -> None:
    """Another boot begins from the last time that was."""
    keeping(running)
    rids = keep(running)
    for _ in range(23):
        pass_time(running, HOUR)
    running.boot, running.up = "two", 0.0
    running.restart()
    assert there(running, rids) == 1
    pass_time(running, 2 * HOUR)
    assert there(running, rids) == 0


def test_little_is_erased_at_once_and_all_in_the_end(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "MOST", 4)
    keeping(running)
    rids = keep(running, 10)
    left = []
    for _ in range(4):
        pass_time(running, (DAY + HOUR) if not left else 0)
        left.append(there(running, rids))
    assert left == [6, 2, 0, 0]


def test_what_ended_is_not_missed_whenever_the_collector_is_killed(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "MOST", 4)
    keeping(running)
    keep(running, 10)
    for turn in range(4):
        pass_time(running, 0 if turn else DAY + HOUR)
        begin_from(running, files(running.mesh.state))
        assert whys(running) == []
    keep(running)
    assert running.store.ended()["records"][1] == 10


def test_an_older_store_is_a_loss_although_much_of_it_has_ended(running: Running) -> None:
    keeping(running)
    keep(running, 3)
    older = files(running.mesh.state)
    pass_time(running, DAY + HOUR)
    begin_from(running, {**older, ANCHOR.name: files(running.mesh.state)[ANCHOR.name]})
    assert whys(running) == ["older"]


def test_the_file_gives_its_room_back(running: Running) -> None:
    keeping(running)
    keep(running, 3_000)
    running.restart()  # what is in the journal goes into the file
    full, used = running.store.path.stat().st_size, running.store.size()
    pass_time(running, DAY + HOUR)
    running.restart()
    assert running.store.path.stat().st_size < full / 4 and running.store.size() < used / 4


@pytest.mark.parametrize("damage", [None, b"", b"{", b'{"format": 1, "retention": "1s"}', b'{"format": 9}'])
def test_without_a_file_that_says_so_nothing_ends(running: Running, damage: bytes | None) -> None:
    keeping(running, 1)
    path = running.mesh.run / "control" / KEEPING.name
    path.unlink() if damage is None else path.write_bytes(damage)
    rids = keep(running, 2)
    pass_time(running, 1000 * DAY)
    assert there(running, rids) == 2 and running.store.ended() == {}


def test_a_bound_outlives_its_file(tmp_path: Path) -> None:
    file = KeepingFile(tmp_path)
    assert file.now() == Keeping()
    KEEPING.write(tmp_path, Keeping(5, 7))
    assert file.now() == Keeping(5, 7)
    (tmp_path / KEEPING.name).write_text("{")
    assert file.now() == Keeping(None, 7)
    KEEPING.write(tmp_path, Keeping(6, None))
    assert file.now() == Keeping(6, None)


def test_room_that_is_taken_stops_the_heartbeat_and_ends_no_record(running: Running) -> None:
    """Whoever makes many records cannot make others' go."""
    rids = keep(running, 5)
    keeping(running, DAY, running.store.size())
    os.utime(running.mesh.run / "audit/heartbeat", (1, 1))
    more = keep(running)
    running.rounds()
    assert running.heartbeat == 1 and running.codes() == ["MW4010"]
    assert there(running, rids + more) == 6  # what is read meanwhile is kept
    keeping(running, DAY, 2 * running.store.size())
    running.rounds()
    assert running.heartbeat > 1


def test_room_is_there_again_when_records_have_ended(running: Running) -> None:
    keep(running, 2_000)
    keeping(running, DAY, running.store.size() // 2)
    running.rounds()
    assert running.codes() == ["MW4010"]
    pass_time(running, DAY + HOUR)
    running.restart()  # what the journal took counts as well, until it is used again
    os.utime(running.mesh.run / "audit/heartbeat", (1, 1))
    running.rounds()
    assert running.heartbeat > 1


def test_a_store_of_an_older_release_uses_its_room_again(running: Running) -> None:
    """It cannot give it back: only what is in use counts."""
    running.store.close()
    with closing(sqlite3.connect(running.store.path, isolation_level=None)) as db:
        db.executescript("PRAGMA journal_mode = DELETE; PRAGMA auto_vacuum = NONE; VACUUM;")
    running.start()
    keeping(running)
    keep(running, 2_000)
    running.restart()
    full, used = running.store.path.stat().st_size, running.store.size()
    pass_time(running, DAY + HOUR)
    running.restart()
    assert running.store.path.stat().st_size == full and running.store.size() < used / 4


def test_refusals_are_erased_with_all_their_reasons(running: Running) -> None:
    keeping(running)
    running.mesh.edge(*[unknown_bytes(new_rid(), f"reason_{n}") for n in range(7)])
    running.rounds()
    assert len(running.store.refusals(0)) >= 7
    pass_time(running, DAY + 2 * HOUR)
    assert running.store.refusals(0) == [] and running.store.ended()["refusals"][1] == 7


def test_a_journal_that_grew_while_somebody_read_takes_no_room_for_ever(
    mesh: Mesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`audit.max_disk` counts it. A reader that holds its view keeps it from being emptied, and then goes."""
    monkeypatch.setattr(store, "_CHECKPOINT", 30)
    running = Running(mesh)
    with closing(running.store), closing(sqlite3.connect(running.store.path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM records").fetchone()
        for _ in range(20):
            keep(running, 10)
        journal = running.store.path.with_name(f"{running.store.path.name}-wal")
        assert journal.stat().st_size > 2 * 30 * 4096
        reader.execute("COMMIT")
        for _ in range(3):
            keep(running, 1)
        assert journal.stat().st_size <= 2 * 30 * 4096
