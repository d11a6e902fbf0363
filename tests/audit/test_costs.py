"""What a record costs, counted: statements of SQL, calls of functions, calls of the system."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import FrameType

import pytest

from meshward.audit.store import Batch, Store
from tests.audit.making import Mesh, edge, edge_bytes, guard, guard_bytes, new_rid
from tests.audit.test_collector import Running
from tests.cost import watched

CALLS = 150
"""Of Python's functions and of C's, for a record of two plain lines that agree: 120 when this was written."""


@pytest.fixture
def running(mesh: Mesh) -> Iterator[Running]:
    running = Running(mesh)
    yield running
    running.store.close()


def asked(store: Store, records: int) -> int:
    """The questions to the store while it takes so many new records."""
    found: list[str] = []
    store._db.set_trace_callback(lambda sql: found.append(sql) if sql.lstrip().startswith("SELECT") else None)
    rids = [new_rid() for _ in range(records)]
    store.write(Batch(edges=[edge(rid) for rid in rids], guards=[guard(rid) for rid in rids]), 0.0)
    store._db.set_trace_callback(None)
    return len(found)


def test_a_batch_asks_once_what_is_there_however_large_it_is(running: Running) -> None:
    assert asked(running.store, 500) == asked(running.store, 5) == 1


def calls(running: Running, records: int) -> int:
    rids = [new_rid() for _ in range(records)]
    running.mesh.edge(*map(edge_bytes, rids))
    running.mesh.guard(*map(guard_bytes, rids))
    spent = 0

    def called(_frame: FrameType, event: str, _function: object) -> None:
        nonlocal spent
        spent += event in ("call", "c_call")

    with watched(sys.setprofile, called, sys.getprofile()):
        running.rounds()
    return spent


def test_a_record_takes_a_bounded_number_of_calls(running: Running) -> None:
    calls(running, 10)  # what is done a first time only
    few, many = calls(running, 100), calls(running, 600)
    assert (many - few) / 500 <= CALLS
