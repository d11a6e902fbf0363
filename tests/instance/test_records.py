"""`status` says whether records are kept, and if not, why, in the collector's words."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from meshward.apply.counters import load_counters
from meshward.audit.anchor import ANCHOR
from meshward.audit.places import HEARTBEAT
from meshward.audit.records import FILE
from meshward.audit.store import Batch, Store
from meshward.audit.told import ALARM, room_alarms
from meshward.instance.leaving import leave
from meshward.instance.records import proof
from meshward.instance.status import Status
from meshward.runtime.place import directories
from meshward.runtime.place.directories import State, open_state, run_path
from meshward.runtime.supervise.report import PartReport, Phase
from tests.audit.making import edge, guard, new_rid
from tests.stack.accepted import accept


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> State:
    monkeypatch.setattr(directories, "ROOT_RUN", tmp_path / "lib")
    state = open_state(tmp_path / "state")
    Store(state.path).close()
    return state


def beat(state: State, age: float, lag: int = 0) -> None:
    path = run_path(state) / HEARTBEAT
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"read": 1, "lag": lag, "at": time.time()}))
    os.utime(path, (time.time() - age,) * 2)


def test_a_fresh_heartbeat_is_a_proof(state: State) -> None:
    beat(state, 0.8)
    found = proof(state)
    assert found.fresh and found.lines() == [f"records are kept, last proof {found.age:.1f} s ago"]
    beat(state, 0.8, lag=77)
    assert "77 bytes of logs wait" in proof(state).lines()[0]


@pytest.mark.parametrize("age", [11.0, 3600.0, -60.0])
def test_an_old_one_or_one_from_the_future_is_none(state: State, age: float) -> None:
    beat(state, age)
    complaint = {"event": "cannot write", "code": "MW4005", "remedy": "make room", "level": "error"}
    lines = [json.dumps({"event": "collecting", "level": "info"}), json.dumps(complaint), "no json", "[]"]
    state.log("collector").write_text("\n".join(lines))
    found = proof(state)
    assert not found.fresh and "cannot write" in found.lines()[0] and "make room" in found.lines()[1]


def test_no_heartbeat_is_no_proof_and_points_at_the_log(state: State) -> None:
    found = proof(state)
    assert not found.fresh and found.age is None and str(state.log("collector")) in found.lines()[1]


def test_the_bound_is_the_policys(state: State) -> None:
    beat(state, 15)
    assert not proof(state).fresh
    models = {"m": {"versions": {"v1": {"server": "tei", "url": "unix:/run/m.sock"}}}}
    policy = {"version": 1, "trust_domain": "one.test", "models": models, "audit": {"max_blind": "20s"}}
    accept(state.path, policy)
    assert proof(state).fresh and proof(state).bound == 20


def test_an_instance_that_keeps_no_records_is_not_healthy(state: State) -> None:
    part = PartReport("collector", Phase.RUNNING, os.getpid(), 0, 0.0, 0, "")

    def seen() -> Status:
        return Status(str(state.path), 1, (part,), (), (), (), (), records=proof(state))

    beat(state, 0)
    assert seen().healthy and any("records are kept" in line for line in seen().lines())
    beat(state, 60)
    assert not seen().healthy and any("RECORDS ARE NOT KEPT" in line for line in seen().lines())
    assert seen().as_json()["records"]["age"] > 59


def test_lost_records_are_an_alarm_although_records_are_kept(state: State) -> None:
    with closing(Store(state.path)) as store:
        store.write(Batch(edges=[edge(new_rid())], lines=Counter({"edge/access.log": 1})), time.time())
        store.anchor()
    for path in state.path.glob("records.sqlite*"):
        path.unlink()
    Store(state.path).close()
    beat(state, 0)
    found = proof(state)
    part = PartReport("collector", Phase.RUNNING, os.getpid(), 0, 0.0, 0, "")
    seen = Status(str(state.path), 1, (part,), (), (), (), (), records=found)
    assert found.fresh and not found.well and not seen.healthy
    assert (
        "RECORDS WERE LOST (MW4009" in found.lines()[1] and "1 of edge/access.log lines" in found.lines()[1]
    )
    later = proof(state, lambda: time.time() + 2 * ALARM)
    assert later.well and later.lines()[-1].startswith("records were lost 1 times before")


def test_a_gap_is_an_alarm_too(state: State) -> None:
    with closing(Store(state.path)) as store:
        batch = Batch()
        batch.gaps[(int(time.time()), "edge/access.log", "log_gone")] = 1
        store.write(batch, time.time())
    beat(state, 0)
    assert (
        not proof(state).well and "LINES MAY BE LOST: edge/access.log was removed" in proof(state).lines()[1]
    )


def test_records_that_cannot_be_read_are_an_alarm(state: State) -> None:
    beat(state, 0)
    (state.path / FILE).write_bytes(b"\xa5" * 8192)
    assert not proof(state).well and "MW" not in proof(state).lines()[0]
    (state.path / FILE).unlink()
    assert not proof(state).well and "there are no records" in proof(state).lines()[1]


def test_room_that_is_almost_taken_is_an_alarm(state: State) -> None:
    beat(state, 0)
    models = {"m": {"versions": {"v1": {"server": "tei", "url": "unix:/run/m.sock"}}}}
    policy = {"version": 1, "trust_domain": "one.test", "models": models, "audit": {"max_disk": "64m"}}
    accept(state.path, policy)
    assert proof(state).well
    assert room_alarms(79, 100) == [] == room_alarms(10**12, None)
    assert "TAKE 80 % of `audit.max_disk`" in room_alarms(80, 100)[0]
    with (state.path / f"{FILE}-wal").open("wb") as journal:
        journal.truncate(60 << 20)
    assert not proof(state).well and "RECORDS TAKE 93 %" in proof(state).lines()[1]


def test_at_the_end_it_is_remembered_away_from_the_records_how_far_they_were(state: State) -> None:
    """Where both of the records' files are another time's or place's, what was remembered stays."""
    models = {"m": {"versions": {"v1": {"server": "tei", "url": "unix:/run/m.sock"}}}}
    accept(state.path, {"version": 1, "trust_domain": "one.test", "models": models})
    for _ in range(2):
        with closing(Store(state.path)) as store:
            store.write(Batch(edges=[edge(new_rid())], lines=Counter({"edge/access.log": 1})), time.time())
            store.anchor()
        anchor = ANCHOR.read(state.path)
        leave(state, print)
        assert anchor is not None and load_counters(state.path).records == anchor.mark
    for path in state.path.glob("records.*"):
        path.unlink()
    leave(state, print)
    assert load_counters(state.path).records == anchor.mark
    Store(state.path).close()
    leave(state, print)
    assert load_counters(state.path).records == anchor.mark, "the next start is to miss it"


def test_a_clock_that_was_set_is_told_and_no_alarm(state: State) -> None:
    with closing(sqlite3.connect(state.path / FILE)) as db, db:
        db.execute("UPDATE store SET passed = passed - 864000")
    beat(state, 0)
    found = proof(state)
    assert found.well and "set ahead by 10 days" in found.lines()[-1]
    assert "set ahead by 10 days" in found.clocks[0]


def test_a_guard_on_another_clock_is_told_with_its_name(state: State) -> None:
    good, ahead = new_rid(), new_rid()
    at = time.time()
    lines = [guard(good, t=f"{at:.3f}", dur="8"), guard(ahead, t=f"{at + 90:.3f}", dur="8")]
    with closing(Store(state.path)) as store:
        edges = [edge(rid, t=f"{at:.3f}", dur="0.012") for rid in (good, ahead)]
        store.write(Batch(edges=edges, guards=lines), at)
    beat(state, 0)
    found = proof(state)
    (said,) = found.clocks
    assert found.well and said in found.lines()
    assert (
        said.startswith(f"{lines[1].guard}: clock skew")
        and "at least 90 s ahead" in said
        and "1 say so" in said
    )
