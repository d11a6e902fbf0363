"""What `meshward trace` prints: a story where there is one, and else why there may be none."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from meshward.audit.store import Batch, Store
from meshward.cli.trace import command
from meshward.runtime.place.instance_file import Instance
from tests.audit.making import edge, guard, new_rid

_RUN = Path("run")


@pytest.fixture
def state(tmp_path: Path) -> Path:
    Instance("https://localhost", "", str(tmp_path / _RUN), "mesh.test", 1, (), None).save(tmp_path)
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
    assert "No records are being kept" in capsys.readouterr().out
    beat = state / _RUN / "audit" / "heartbeat"
    beat.parent.mkdir(parents=True)
    beat.touch()
    assert trace(state, new_rid()) == 11
    assert "No records are being kept" not in capsys.readouterr().out


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
