from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from meshward.audit.store import Store
from meshward.instance import down as stopping
from meshward.instance.down import down
from meshward.instance.status import Status, status
from meshward.kit.errors import MeshwardError
from meshward.runtime.place import directories
from meshward.runtime.place.directories import State, open_state, run_directory, shm_path
from meshward.runtime.place.instance_file import Guarded, Instance
from meshward.runtime.supervise.leftovers import end_leftovers
from meshward.runtime.supervise.report import Phase
from meshward.testing.waiting import eventually
from tests.audit.making import guard_bytes, new_rid
from tests.runtime.children import shell, sleeper
from tests.runtime.conftest import Start, alive, numbers


@pytest.fixture(autouse=True)
def run_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(directories, "ROOT_RUN", tmp_path / "lib")
    yield


def test_down_stops_everything_and_says_whether_anything_ran(start: Start, tmp_path: Path):
    run = start(sleeper("one", tmp_path)).until_ready()

    assert down(run.state.path) is True

    assert run.ended() == 0
    assert not alive(numbers(tmp_path / "one.pids")[0])
    assert down(run.state.path) is False
    assert down(tmp_path / "nowhere") is False
    assert not (tmp_path / "nowhere").exists()


def _left_by_a_killed_instance(tmp_path: Path) -> tuple[State, Path, str]:
    """STATE and RUN, with a socket and a line that no record covers."""
    state = open_state(tmp_path / "state")
    run, guard = run_directory(state), run_directory(state) / "guards" / "00"
    shm_path(state).mkdir()
    (shm_path(state) / "decision").write_text("a token")
    guard.mkdir(parents=True)
    (guard / "access.log").write_bytes(guard_bytes(rid := new_rid()) + b"\n")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(guard / "guard.sock"))
    return state, run, rid


def test_down_leaves_nothing_outside_the_state_and_loses_no_line(tmp_path: Path) -> None:
    state, run, rid = _left_by_a_killed_instance(tmp_path)
    down(state.path)
    assert not shm_path(state).exists() and not run.exists()
    assert not (tmp_path / "lib").exists(), "the directory of all RUNs goes with the last of them"
    assert len(Store.read_only(state.path).records(rid)) == 1


def test_down_keeps_logs_that_cannot_become_records_and_says_so(tmp_path: Path) -> None:
    state, run, _ = _left_by_a_killed_instance(tmp_path)
    (state.path / "records.sqlite").write_bytes(b"noise" * 1000)
    told: list[str] = []
    down(state.path, progress=told.append)
    assert [path.name for path in run.rglob("*") if not path.is_dir()] == ["access.log"]
    assert told == [
        f"warning: {run} stays: its logs hold lines that are not recorded yet; the next start reads them"
    ]


def test_another_instances_run_directory_stays(tmp_path: Path) -> None:
    state, run, _ = _left_by_a_killed_instance(tmp_path)
    other = run_directory(open_state(tmp_path / "other"))
    down(state.path)
    assert not run.exists() and other.is_dir()


def test_down_ends_what_a_killed_supervisor_left_behind(tmp_path: Path):
    state = open_state(tmp_path / "state")
    with state.log("edge").open("wb") as log:
        orphan = subprocess.Popen(["sleep", "1000"], stdout=log, start_new_session=True)
        bystander = subprocess.Popen(["sleep", "1000"], stdout=log)  # in our session: what logs `up` itself
    try:
        seen = status(state.path)
        assert not seen.running and [left.pid for left in seen.left] == [orphan.pid]
        assert f"Left behind: `sleep` (pid {orphan.pid})" in "\n".join(seen.lines())

        assert down(state.path) is True

        assert orphan.wait(60) == -signal.SIGKILL
        assert bystander.poll() is None
    finally:
        for process in (orphan, bystander):
            process.kill()
            process.wait()


def test_down_names_what_does_not_stop(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Its seconds pass while it sleeps, and at no other time."""
    passed = list[float]()
    clock = SimpleNamespace(monotonic=lambda: sum(passed), sleep=passed.append)
    monkeypatch.setattr(stopping, "time", clock)
    run = start(sleeper("one", tmp_path)).until_ready()
    (part,) = numbers(tmp_path / "one.pids")
    eventually(lambda: Path(f"/proc/{part}/comm").read_text() == "sleep\n", what="what the shell becomes")
    os.kill(run.process.pid, signal.SIGSTOP)
    told: list[str] = []

    with pytest.raises(MeshwardError) as caught:
        down(run.state.path, deadline=1.2, progress=told.append)

    assert caught.value.code.number == "MW3010"
    assert f"pid {run.process.pid}" in caught.value.message
    assert f"`sleep` (pid {part})" in caught.value.message
    assert told == ["stopping: 1 s"]


def test_status_of_a_running_instance(start: Start, tmp_path: Path):
    run = start(sleeper("edge", tmp_path), sleeper("decide", tmp_path)).until_ready()
    guards = tuple(
        Guarded("minilm", v, "00", "x", "s", "u", reach) for v, reach in (("v1", "socket"), ("v2", "open"))
    )
    Instance("https://localhost", "root.pem", "run", "td", 1, guards, None).save(run.state.path)

    seen = status(run.state.path)

    assert seen.healthy and seen.running and seen.pid == run.process.pid
    text = "\n".join(seen.lines())
    assert f"2 of 2 parts are up in {run.state.path} (supervisor: pid {run.process.pid})" in text
    assert re.search(rf"up for \d+ s, pid {numbers(tmp_path / 'edge.pids')[0]}, uid {os.geteuid()}\b", text)
    assert "minilm/v2: server OPEN: others can reach it past its guard" in text
    assert "a note" in text
    document = json.loads(json.dumps(seen.as_json()))
    assert document["healthy"] is document["running"] is True
    assert [(part["name"], part["up"]) for part in document["parts"]] == [("edge", True), ("decide", True)]


def test_status_tells_a_part_that_is_down_and_one_that_came_back(start: Start, tmp_path: Path):
    fragile = "[ -e broken ] && exit 7; touch broken once.ready; exec sleep 1000"
    run = start(shell("once", fragile, tmp_path), sleeper("back", tmp_path)).until_ready()
    os.kill(run.report("once").pid, signal.SIGKILL)
    os.kill(run.report("back").pid, signal.SIGKILL)
    run.until_restarted("back")

    def failing() -> Status | None:
        """While it is paused: between two pauses it is tried again."""
        seen = status(run.state.path)
        once = next(part for part in seen.parts if part.name == "once")
        return seen if once.restarts >= 3 and once.phase is Phase.PAUSED else None

    seen = eventually(failing, what="it keeps failing")

    assert seen.running and not seen.healthy
    once, back = (next(line for line in seen.lines() if name in line) for name in ("once", "back"))
    assert "DOWN (paused)" in once and "last time it exited with code 7" in once
    assert "  up for" in back and "1 restart, last time it was killed by SIGKILL" in back


def test_status_of_what_is_not_running(start: Start, tmp_path: Path):
    never = status(tmp_path / "nowhere")
    assert not never.running and not never.healthy
    assert never.lines() == [f"Nothing runs in {tmp_path}/nowhere; start it with `meshward up POLICY`."]

    run = start(sleeper("one", tmp_path)).until_ready()
    run.stop()
    assert not status(run.state.path).running


def test_the_names_that_programs_read_in_a_status(tmp_path: Path):
    told = "state pid parts notes guards credentials left records keys walks ejected unusable unsettled "
    told += "elsewhere shut running healthy"
    assert " ".join(status(tmp_path).as_json()) == told


def test_leftovers_that_are_another_instances_are_left_alone(tmp_path: Path):
    mine, other = open_state(tmp_path / "mine"), open_state(tmp_path / "other")
    with other.log("edge").open("wb") as log:
        process = subprocess.Popen(["sleep", "1000"], stdout=log)
    try:
        assert end_leftovers(mine) == []
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()


def test_the_memory_directory_is_named_after_the_state(tmp_path: Path):
    state = open_state(tmp_path / "state")
    assert str(shm_path(state)) == f"/dev/shm/meshward-{state.hex}"
