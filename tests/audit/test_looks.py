"""Halves at the end of a log wait for one look: a record is stored whole and once, and nothing is lost by it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshward.audit.collector import POLL, WINDOW
from meshward.audit.looks import look, without_late
from meshward.audit.store import PATIENCE
from meshward.audit.tail import READ, Tail
from tests.audit.making import Mesh, append, edge_bytes, guard_bytes, new_rid, refused_bytes
from tests.audit.test_collector import Running


@pytest.fixture
def running(mesh: Mesh) -> Iterator[Running]:
    running = Running(mesh)
    running.rounds()
    yield running
    running.store.close()


def written(running: Running) -> list[str]:
    """What is written into the store's records from now on, a statement each."""
    found: list[str] = []
    running.store._db.set_trace_callback(
        lambda sql: found.append(sql) if "INTO records" in sql or "UPDATE records" in sql else None
    )
    return found


def some(count: int) -> list[str]:
    return [new_rid() for _ in range(count)]


def appear(mesh: Mesh, running: Running) -> None:
    """Both logs exist and are followed."""
    mesh.edge()
    mesh.guard()
    running.rounds()


def test_a_record_whose_halves_come_apart_is_written_once(mesh: Mesh, running: Running) -> None:
    """Envoy's buffer: the last requests of each look have only the edge's line yet."""
    appear(mesh, running)
    statements = written(running)
    rids = some(60)
    late: list[bytes] = []
    for turn in range(6):
        of_turn = rids[10 * turn : 10 * turn + 10]
        mesh.edge(*map(edge_bytes, of_turn))
        mesh.guard(*late, *map(guard_bytes, of_turn[:8]))
        late = [guard_bytes(rid) for rid in of_turn[8:]]
        assert running.collector.round()  # two lines wait
    mesh.guard(*late)
    running.rounds()
    assert all(record.agrees for rid in rids for record in running.store.records(rid))
    assert len(statements) == 60


def test_a_log_that_is_far_ahead_of_the_other_is_not_written_as_halves(mesh: Mesh, running: Running) -> None:
    """A backlog: the guard's lines are shorter, so that a piece of its log holds more of them."""
    rids = some(3000)
    mesh.edge(*map(edge_bytes, rids))
    mesh.guard(*map(guard_bytes, rids))
    statements = written(running)
    running.rounds()
    assert len(statements) == 3000
    (count,) = running.store._db.execute(
        "SELECT count(*) FROM records WHERE agrees AND NOT waiting"
    ).fetchone()
    assert count == 3000


@pytest.mark.parametrize("hop", ["edge", "guard"])
def test_a_half_waits_for_one_look_and_no_longer(mesh: Mesh, running: Running, hop: str) -> None:
    appear(mesh, running)
    whole, alone = some(4), new_rid()
    mesh.edge(*map(edge_bytes, whole))
    mesh.guard(*map(guard_bytes, whole))
    if hop == "edge":
        mesh.edge(edge_bytes(alone))
    else:
        mesh.guard(guard_bytes(alone))
    running.collector.round()
    assert running.store.records(alone) == [] and running.store.records(whole[-1])
    running.collector.round()
    (half,) = running.store.records(alone)
    assert half.waiting


def test_halves_without_end_do_not_make_a_log_be_read_again_and_again(mesh: Mesh, running: Running) -> None:
    """A guard that is down leaves the edge's lines alone: each is taken at the first look."""
    appear(mesh, running)
    rids = some(100)
    mesh.edge(*map(edge_bytes, rids))
    running.collector.round()
    assert all(running.store.records(rid) for rid in rids)


def test_what_is_left_is_in_its_file_and_survives_a_kill(mesh: Mesh, running: Running) -> None:
    appear(mesh, running)
    whole, alone = some(4), new_rid()
    mesh.edge(*map(edge_bytes, whole), edge_bytes(alone))
    mesh.guard(*map(guard_bytes, whole))
    running.collector.round()
    raw = mesh.edge_log.read_bytes()
    assert alone.encode() in raw and whole[-1].encode() not in raw
    running.restart()
    running.rounds()
    assert [len(running.store.records(rid)) for rid in (*whole, alone)] == [1] * 5
    assert running.store.gaps(0) == []


def test_a_half_is_not_missed_while_its_other_was_left(mesh: Mesh, running: Running) -> None:
    """The edge's line comes within the patience, but stands behind one that waits for a look."""
    appear(mesh, running)
    slow = new_rid()
    mesh.guard(guard_bytes(slow))
    running.rounds()
    running.wait(PATIENCE - 0.1)
    running.rounds()
    whole, alone = some(4), new_rid()
    mesh.edge(*map(edge_bytes, whole), edge_bytes(alone), edge_bytes(slow))
    mesh.guard(*map(guard_bytes, whole))
    running.wait(0.2)
    running.collector.round()
    (half,) = running.store.records(slow)
    assert half.waiting
    running.rounds()
    assert running.store.records(slow)[0].agrees


def test_halves_are_missed_under_steady_load_too(mesh: Mesh, running: Running) -> None:
    """Also where each look leaves something."""
    appear(mesh, running)
    alone, late = new_rid(), list[bytes]()
    mesh.edge(edge_bytes(alone))
    running.collector.round()
    for _ in range(3):
        whole = some(5)
        mesh.edge(*map(edge_bytes, whole))
        mesh.guard(*late, *map(guard_bytes, whole[:-1]))
        late = [guard_bytes(whole[-1])]
        running.wait(PATIENCE)
        assert running.collector.round()
    (half,) = running.store.records(alone)
    assert (half.waiting, half.missing) == (False, "guard")


def test_a_part_of_a_chunk_is_what_reading_so_much_gives(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    append(path, *[b"%d" % number * (number % 40) for number in range(300)])
    tail = Tail("edge/access.log", path, {})
    for count in (1, 7, 200, 1):
        chunk = tail.read()
        assert chunk is not None
        part = chunk.first(count)
        exact = tail.read(limit=sum(len(line) + 1 for line in part.lines))
        assert exact is not None and (part.lines, part.position) == (exact.lines[:-1], exact.position)
        tail.advance(part.position)
    rest = tail.read()
    assert rest is not None and len(rest.lines) == 300 - 209 + 1


def test_the_last_line_of_a_deleted_log_is_never_left(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    append(path, refused_bytes(new_rid()), edge_bytes(new_rid()))
    found = look(Tail("edge/access.log", path, {}), final=True)
    assert found is not None and without_late([found]) == [found]


@pytest.mark.parametrize(("lines", "pause"), [(0, POLL), (2, POLL), (40, WINDOW)])
def test_the_next_look_is_later_while_much_comes(
    mesh: Mesh, running: Running, lines: int, pause: float
) -> None:
    appear(mesh, running)
    mesh.edge(*[refused_bytes(new_rid()) for _ in range(lines)])
    running.collector.round()
    assert running.collector._pause == pause
    running.collector.round()
    assert running.collector._pause == POLL


def test_more_than_one_look_holds_is_read_without_a_pause(mesh: Mesh, running: Running) -> None:
    line = refused_bytes(new_rid())
    mesh.edge(line, *[refused_bytes(new_rid()) for _ in range(READ // len(line) + 1)])
    running.collector._looked = float("-inf")
    assert running.collector.round() and running.collector._pause == 0.0


def test_told_to_stop_it_takes_what_was_left_as_well(mesh: Mesh, running: Running) -> None:
    appear(mesh, running)
    whole, alone = some(4), new_rid()
    mesh.edge(*map(edge_bytes, whole), edge_bytes(alone))
    mesh.guard(*map(guard_bytes, whole))
    stop = threading.Event()
    stop.set()
    running.collector.run(stop)
    assert running.store.records(alone)[0].waiting and running.collector.lag() == 0
