from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from meshward.kit.errors import MeshwardError
from meshward.kit.exits import Exit
from meshward.runtime.place.directories import State, open_state
from meshward.runtime.place.lock import hold_state, holder, is_state_free
from tests.runtime.children import sleeper
from tests.runtime.conftest import Start, numbers


def test_a_second_start_on_the_same_state_is_refused_and_names_the_first(start: Start, tmp_path: Path):
    first = start(sleeper("one", tmp_path)).until_ready()

    second = start(sleeper("one", tmp_path))

    assert second.ended() == Exit.CONFLICT
    code, message, remedy = json.loads(second.lines[-1])
    assert code == "MW3004"
    assert f"(pid {first.process.pid})" in message
    assert "meshward down" in remedy
    assert len(numbers(tmp_path / "one.pids")) == 1


def test_a_lock_ends_with_its_holder_however_it_ends(start: Start, tmp_path: Path):
    run = start(sleeper("one", tmp_path)).until_ready()
    assert holder(run.state) == run.process.pid

    run.stop(signal.SIGKILL)

    assert is_state_free(run.state)
    assert holder(run.state) is None
    with hold_state(run.state):
        assert holder(run.state) == os.getpid()


def test_a_number_in_the_file_is_believed_only_of_a_process_that_has_it_open(tmp_path: Path):
    state = open_state(tmp_path / "state")
    with hold_state(state):
        state.lock_file.write_text(f"{os.getppid()}\n")  # as if the holder had not written its own yet
        with pytest.raises(MeshwardError, match="cannot be seen"):
            holder(state)


def test_there_is_no_holder_where_nothing_ever_ran(tmp_path: Path):
    assert holder(State(tmp_path / "nowhere")) is None
    assert not (tmp_path / "nowhere").exists()


def test_the_lock_is_free_again_after_an_error(tmp_path: Path):
    state = open_state(tmp_path / "state")
    with pytest.raises(ZeroDivisionError), hold_state(state):
        raise ZeroDivisionError
    with hold_state(state):
        assert not is_state_free(state)
    assert is_state_free(state)


def test_an_instance_without_its_lock_still_runs(tmp_path: Path) -> None:
    """Somebody removed or replaced the file: nobody starts beside it, and it can be told to stop."""
    state = open_state(tmp_path / "state")
    with state.log("supervisor").open("a") as log:
        runs = subprocess.Popen(["/bin/sleep", "600"], stdout=log)
    try:
        assert holder(state) == runs.pid and not is_state_free(state)
        with pytest.raises(MeshwardError, match=f"pid {runs.pid}"), hold_state(state):
            pass
    finally:
        runs.kill()
        runs.wait(60)
    with state.log("supervisor").open() as log:
        looks = subprocess.Popen(["/bin/sleep", "600"], stdin=log)
    try:
        assert is_state_free(state), "who looks at the log runs nothing"
    finally:
        looks.kill()
        looks.wait(60)
