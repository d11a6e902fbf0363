"""What `meshward trace` prints: a story where there is one, and else why there may be none."""

from __future__ import annotations

import json
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from meshward.audit.places import HEARTBEAT
from meshward.audit.store import Batch, Store
from meshward.cli.trace import command
from meshward.runtime.place import directories
from meshward.runtime.place.instance_file import Instance
from tests.audit.making import edge, guard, new_rid


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(directories, "ROOT_RUN", tmp_path / "lib")
    run = directories.run_path(directories.State(tmp_path))
    Instance("https://localhost", "", str(run), "mesh.test", 1, (), None).save(tmp_path)
    return tmp_path


def trace(state: Path, rid: str, *, json: bool = False) -> int | str | None:
    with pytest.raises(SystemExit) as ended:
        command(rid, state=state, json=json)
    return ended.value.code


def test_an_unknown_request_is_no_wonder_where_no_records_are_kept(
    state: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meshward.cli.trace.WITHIN", 0.0)
    Store(state)
    assert trace(state, new_rid()) == 11
    assert "RECORDS ARE NOT KEPT" in capsys.readouterr().out
    beat = directories.run_path(directories.State(state)) / HEARTBEAT
    beat.parent.mkdir(parents=True)
    beat.write_text('{"lag": 0}')
    assert trace(state, new_rid()) == 11
    assert "RECORDS ARE NOT KEPT" not in capsys.readouterr().out


def test_a_story_has_styles_on_a_terminal_alone(
    state: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rid = new_rid()
    Store(state).write(Batch(edges=[edge(rid)], guards=[guard(rid)]), time.time())
    assert trace(state, rid) == 0
    plain = capsys.readouterr().out
    assert "permitted by both hops" in plain and "\x1b" not in plain
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    assert trace(state, rid) == 0
    assert "\x1b[" in capsys.readouterr().out


@pytest.mark.parametrize("half", ["edge", "guard"])
def test_a_missing_half_is_named_and_not_proven(
    state: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, half: str
) -> None:
    monkeypatch.setattr("meshward.cli.trace.WITHIN", 0.0)
    rid = new_rid()
    store = Store(state)
    store.write(Batch(guards=[guard(rid)]) if half == "edge" else Batch(edges=[edge(rid)]), 1000.0)
    assert trace(state, rid) == 10
    assert f"its half at the {half} has not come yet" in capsys.readouterr().out
    store.settle(2000.0)
    assert trace(state, rid) == 10
    assert f"its half at the {half} is missing" in capsys.readouterr().out
    assert trace(state, rid, json=True) == 10
    told = json.loads(capsys.readouterr().out)
    assert (told["ok"], told["missing"]) == (False, half)


def test_halves_that_disagree_are_not_proven(state: Path) -> None:
    rid = new_rid()
    Store(state).write(Batch(edges=[edge(rid)], guards=[guard(rid, status="500")]), time.time())
    assert trace(state, rid) == 10


def test_what_was_lost_is_told_and_nothing_is_claimed(
    state: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its record was kept once. That it was refused is no more than possible where such refusals were counted."""
    monkeypatch.setattr("meshward.cli.trace.WITHIN", 0.0)
    rid = new_rid()
    with closing(Store(state)) as store:
        batch = Batch(edges=[edge(rid)], guards=[guard(rid)], lines=Counter({"edge/access.log": 1}))
        store.write(batch, time.time())
        store.anchor()
    for path in state.glob("records.sqlite*"):
        path.unlink()
    store = Store(state)
    assert trace(state, rid) == 11
    told = capsys.readouterr().out
    assert f"{rid} is not in the store" in told and "may be among what was lost" in told
    assert "1 of edge/access.log lines" in told and "refused" not in told
    batch = Batch()
    batch.refusals[(int(time.time()), "edge", "token_expired")] = 1
    batch.gaps[(int(time.time()), "edge/access.log", "log_truncated")] = 1
    store.write(batch, time.time())
    assert trace(state, rid) == 11
    told = capsys.readouterr().out
    assert "1 token_expired" in told and "refused" not in told
    assert "edge/access.log was cut or put back" in told


def test_what_ended_is_told(
    state: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meshward.cli.trace.WITHIN", 0.0)
    rid = new_rid()
    store = Store(state)
    store.write(Batch(edges=[edge(rid)], guards=[guard(rid)]), 1_000.0)
    assert store.end(9_000.0, 10_000.0)
    assert trace(state, rid) == 11
    told = capsys.readouterr().out
    assert "1 records from before 1970-01-01T02:00:00.000Z were erased by `audit.retention`" in told
    assert "lost" not in told
