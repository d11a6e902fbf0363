"""A batch and the positions it covers are one: both there or neither."""

from __future__ import annotations

import sqlite3
import stat
from pathlib import Path

import pytest

from meshward.audit import records as records_module
from meshward.audit.lines import EdgeLine, parse
from meshward.audit.records import Records, StoreDamaged, StoreUnwritable
from meshward.audit.store import MAX_PER_RID, PATIENCE, Batch, Store
from meshward.audit.tail import Position
from meshward.kit.errors import MeshwardError
from tests.audit.making import edge, edge_bytes, guard, new_rid

HERE = Position("edge/access.log", 11, 100, "m")
RID = new_rid()


@pytest.fixture
def store(tmp_path: Path):
    store = Store(tmp_path)
    yield store
    store.close()


def test_halves_of_two_batches_become_one_record(store: Store):
    store.write(Batch(edges=[edge(RID)]), 0.0)
    (half,) = store.records(RID)
    assert half.waiting and half.missing == "guard"
    store.write(Batch(guards=[guard(RID)]), 1.0)
    (record,) = store.records(RID)
    assert record.agrees and not record.waiting


def test_a_batch_that_completes_the_newest_record_overwrites_none(store: Store):
    """New ones stand before it in the batch and after it."""
    store.write(Batch(edges=[edge(new_rid()), edge(RID)]), 0.0)
    before, after = new_rid(), new_rid()
    store.write(Batch(edges=[edge(before)], guards=[guard(RID), guard(before), guard(after)]), 1.0)
    store.write(Batch(edges=[edge(after), edge(new_rid())]), 2.0)
    assert [[record.agrees for record in store.records(rid)] for rid in (RID, before, after)] == [[True]] * 3
    assert store._db.execute("SELECT count(*), count(DISTINCT seq) FROM records").fetchone() == (5, 5)


def test_a_half_whose_other_never_comes_is_settled_as_missing(store: Store):
    store.write(Batch(edges=[edge(RID)]), 100.0)
    assert store.settle(100.0 + PATIENCE - 0.1) == 0
    assert store.settle(100.0 + PATIENCE) == 1
    (record,) = store.records(RID)
    assert (record.waiting, record.missing, record.agrees) == (False, "guard", False)


def test_a_half_that_comes_late_still_completes_its_record(store: Store):
    """A slow client: the guard is done long before the edge."""
    store.write(Batch(guards=[guard(RID)]), 0.0)
    store.settle(60.0)
    store.write(Batch(edges=[edge(RID)]), 61.0)
    (record,) = store.records(RID)
    assert record.agrees and not record.waiting


UNUSUAL = (
    b'"cache":null',
    b'"cache":7',
    b'"cache": "HIT"',
    b'"cache":"caf\xc3\xa9 \\u00e9"',
    b'"cache":"\\u0000\\"\\u001b"',
    b'"cache":"\xff"',
    b'"cache":"\\ud800"',
    b'"cache":"MISS","unknown":"x"',
)


@pytest.mark.parametrize("member", UNUSUAL)
def test_a_half_is_kept_as_it_was_read_and_reads_the_same_again(store: Store, member: bytes):
    raw = edge_bytes(RID).replace(b'"cache":"HIT"', member)
    (line,) = parse(raw, "edge")
    assert isinstance(line, EdgeLine)
    store.write(Batch(edges=[line]), 0.0)
    store.write(Batch(guards=[guard(RID)]), 1.0)  # the half is written once more, with its other
    (record,) = store.records(RID)
    assert record.edge is not None and record.agrees
    assert (record.edge, record.edge.text) == (line, raw.decode("utf-8", "replace"))


def test_a_line_that_is_there_twice_in_two_spellings_is_one(store: Store):
    one = edge_bytes(RID)
    for raw in (one, one.replace(b'"cache":"HIT"', b'"cache": "HIT"')):
        (line,) = parse(raw, "edge")
        assert isinstance(line, EdgeLine)
        store.write(Batch(edges=[line]), 0.0)
    assert len(store.records(RID)) == 1


@pytest.mark.parametrize("step", ["_join", "_count", "_move"])
def test_a_fault_at_any_step_leaves_neither_records_nor_positions(
    store: Store, monkeypatch: pytest.MonkeyPatch, step: str
):
    batch = Batch(edges=[edge(RID)], positions=[HERE])
    batch.refusals[(5, "edge", "no_credentials")] = 3
    original = getattr(Store, step)

    def after(*arguments: object) -> object:
        original(*arguments)
        raise OSError("pulled the plug")

    with monkeypatch.context() as patched:
        patched.setattr(Store, step, after)
        with pytest.raises(OSError, match="plug"):
            store.write(batch, 0.0)
    assert store.records(RID) == [] and store.take_positions() == [] and store.refusals(0) == []
    store.write(batch, 0.0)
    assert len(store.records(RID)) == 1 and store.take_positions() == [(HERE, False)]
    assert store.refusals(0)[0].count == 3


def test_counts_add_up_per_second_and_reason(store: Store):
    for _ in range(3):
        batch = Batch()
        batch.refusals[(5, "edge", "no_credentials")] = 2
        batch.gaps[(5, "edge/access.log", "not_a_record")] = 1
        store.write(batch, 0.0)
    assert [(t.second, t.where, t.reason, t.count) for t in store.refusals(5)] == [
        (5, "edge", "no_credentials", 6)
    ]
    assert store.gaps(5)[0].count == 3 and store.gaps(6) == []


def test_one_id_cannot_fill_the_store_or_hide_the_true_record(store: Store):
    mine = edge(RID)
    for start in range(0, 100, 20):
        strays = [
            guard(RID, peer="spiffe://mesh.example/model/x", uid=str(n)) for n in range(start, start + 20)
        ]
        store.write(Batch(guards=strays), 0.0)
    store.write(Batch(edges=[mine]), 0.0)
    store.write(Batch(guards=[guard(RID)]), 0.0)
    records = store.records(RID)
    assert len(records) == MAX_PER_RID
    assert [record.edge for record in records if record.agrees] == [mine]
    (gap,) = store.gaps(0)
    assert gap.reason == "request_id_flood" and gap.count == 100 + 1 - MAX_PER_RID


def test_files_are_the_owners_alone(store: Store):
    store.write(Batch(edges=[edge(RID)]), 0.0)
    for path in store.path.parent.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_readers_read_while_the_writer_writes_and_after_it_closed(tmp_path: Path):
    store = Store(tmp_path)
    reader = Store.read_only(tmp_path)
    store.write(Batch(edges=[edge(RID)]), 0.0)
    assert len(reader.records(RID)) == 1
    reader.close()
    store.close()
    later = Store.read_only(tmp_path)
    assert len(later.records(RID)) == 1
    with pytest.raises(sqlite3.OperationalError):
        later._db.execute("DELETE FROM records")
    later.close()


def test_no_store_says_so(tmp_path: Path):
    with pytest.raises(MeshwardError) as caught:
        Records(tmp_path)
    assert caught.value.code.number == "MW4004" and caught.value.remedy


def test_only_one_process_writes(store: Store):
    with pytest.raises(MeshwardError) as caught:
        Store(store.path.parent)
    assert caught.value.code.number == "MW4003"


def test_a_locked_store_is_an_error_that_can_be_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(records_module, "_BUSY_MS", 50)
    store = Store(tmp_path)
    other = sqlite3.connect(store.path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StoreUnwritable) as caught:
        store.write(Batch(edges=[edge(RID)], positions=[HERE]), 0.0)
    assert caught.value.code.number == "MW4005" and "locked" in caught.value.message
    with pytest.raises(StoreUnwritable):
        store.probe()
    other.execute("ROLLBACK")
    store.write(Batch(edges=[edge(RID)], positions=[HERE]), 0.0)
    store.probe()
    assert len(store.records(RID)) == 1
    store.close()


@pytest.mark.parametrize("place", [0, 4096, 8192])
def test_a_damaged_store_is_refused_at_the_start(tmp_path: Path, place: int):
    store = Store(tmp_path)
    for _ in range(40):
        store.write(Batch(edges=[edge(new_rid())]), 0.0)
    store.close()
    with store.path.open("r+b") as file:
        file.seek(place)
        file.write(b"\xa5" * 4096)
    before = store.path.read_bytes()
    with pytest.raises(StoreDamaged) as caught:
        Store(tmp_path)
    assert caught.value.code.number == "MW4001" and "aside" in caught.value.remedy
    assert store.path.read_bytes() == before
    store.path.rename(tmp_path / "aside")
    Store(tmp_path).close()


def test_a_store_of_another_format_is_refused(tmp_path: Path):
    store = Store(tmp_path)
    store._db.execute("PRAGMA user_version = 99")
    store.close()
    with pytest.raises(MeshwardError) as caught:
        Store(tmp_path)
    assert caught.value.code.number == "MW4002"


def test_a_store_that_is_taken_away_is_noticed(store: Store):
    store.path.rename(store.path.with_name("elsewhere"))
    with pytest.raises(StoreDamaged, match="removed"):
        store.probe()


def test_a_clean_stop_is_told_once(tmp_path: Path):
    store = Store(tmp_path)
    store.write(Batch(positions=[HERE]), 0.0)
    store.close(clean=True)
    store = Store(tmp_path)
    assert store.take_positions() == [(HERE, True)]
    assert store.take_positions() == [(HERE, False)]
    store.close()
