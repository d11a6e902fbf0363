"""What `meshward trace` prints: a story where there is one, and else why there may be none."""

from __future__ import annotations

import time
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


def trace(state: Path, rid: str) -> int | str | None:
    with pytest.raises(SystemExit) as ended:
        command(rid, state=state)
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
