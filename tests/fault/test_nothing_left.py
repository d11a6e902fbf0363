"""However an instance ends, nothing of it is left outside STATE, and each request that was answered has its record."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from meshward.audit.store import Store
from meshward.runtime.place.directories import State, run_path
from meshward.testing.instance import START
from tests.hostile.conftest import write_hostile
from tests.stack.running import Stack, eventually, running

PLACES = ("/tmp", "/var/tmp", "/run", "/var/lib", "/var/lib/meshward", "/dev/shm", "/dev/mqueue")


@pytest.fixture(scope="module")
def stack(short_dir: Path) -> Iterator[Stack]:
    with running(short_dir, write_hostile) as started:
        yield started


def ours(stack: Stack) -> set[int]:
    """The users that nobody but this instance has; an ordinary user's own are told by what was there before."""
    if os.geteuid() != 0:
        return {os.geteuid()}
    file = stack.state / "identities.json"
    return set(json.loads(file.read_text())["numbers"].values()) if file.exists() else set()


def marks(stack: Stack) -> tuple[str, str]:
    """What is nobody else's."""
    state = State(stack.state)
    return state.hex, str(state.path)


def of_others(name: str, state: State) -> bool:
    """Whether an entry of that name is another instance's, or of other tests, which may run beside this one."""
    instance = re.fullmatch(r"meshward-(?:\d+-)?([0-9a-f]{8})", name)
    return instance[1] != state.hex if instance else name.startswith(("mw", "pytest-of-"))


def has_another_supervisor(pid: str, uids: set[int], state: State) -> bool:
    """Whether it is a part of another instance that runs, whose parts may have got the numbers of ours."""
    while Path("/proc", pid).stat().st_uid in uids:
        pid = Path("/proc", pid, "stat").read_text().rpartition(")")[2].split()[1]
    command = Path("/proc", pid, "cmdline").read_bytes().decode(errors="replace")
    return "--state" in command and str(state.path) not in command


def outside(stack: Stack) -> set[str]:
    """What there is of the instance outside STATE: files, processes, mounts, shared memory."""
    uids, state = ours(stack), State(stack.state)
    found = set[str]()
    for place in filter(Path.is_dir, map(Path, PLACES)):
        # Root's are not an ordinary user's to list, nor to write to.
        with suppress(PermissionError), os.scandir(place) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):  # others' files go while we look
                    about = entry.stat(follow_symlinks=False)
                    theirs = about.st_uid in uids and not of_others(entry.name, state)
                    if theirs or state.hex in entry.name:
                        found.add(entry.path)
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = process.joinpath("cmdline").read_bytes().decode(errors="replace")
            theirs = os.geteuid() == 0 and process.stat().st_uid in uids
            theirs = theirs and not has_another_supervisor(process.name, uids, state)
        except OSError:
            continue
        if command and (theirs or any(mark in command for mark in marks(stack))):  # a zombie has none
            found.add(f"process {process.name}: {command}")
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    found |= {line for line in mounts if any(mark in line for mark in marks(stack))}
    shared = Path("/proc/sysvipc/shm")
    rows = shared.read_text().splitlines()[1:] if shared.exists() else []
    return found | {row for row in rows if int(row.split()[7]) in uids}


@pytest.fixture(scope="module")
def before(stack: Stack) -> set[str]:
    """What an ordinary user has there anyhow, once the instance has ended for the first time."""
    if os.geteuid() == 0:
        return set()
    end_by_down(stack)
    return {each for each in outside(stack) if State(stack.state).hex not in each}


def request(stack: Stack) -> str:
    """One request that the model answered; its id."""
    reply = stack.call("GET", "/m/m1/v1/public", stack.issuer.token("alice", ["users"]))
    assert reply.status == 200, reply
    return reply.request_id


def begin(stack: Stack) -> None:
    if stack.process.poll() is None:
        return
    with stack.log.open("w") as log:
        command = [sys.executable, "-m", "meshward", *START, "--state", str(stack.state)]
        stack.process = subprocess.Popen(command, stdout=log, stderr=log, text=True, start_new_session=True)
    eventually(stack._is_ready, what="the instance")


def kill(stack: Stack) -> None:
    stack.process.kill()
    stack.process.wait(60)


def end_by_down(stack: Stack) -> None:
    done = stack.command("down")
    assert done.returncode == 0 and "stays" not in done.stderr, done
    stack.process.wait(60)


def end_by_interrupt(stack: Stack) -> None:
    stack.process.send_signal(signal.SIGINT)
    assert stack.process.wait(60) == 0, stack.log.read_text()


def end_by_kill_and_down(stack: Stack) -> None:
    kill(stack)
    end_by_down(stack)


def end_by_kill_and_another_start(stack: Stack) -> None:
    kill(stack)
    begin(stack)
    end_by_interrupt(stack)


def end_with_lines_that_nobody_read(stack: Stack) -> None:
    """The collector hangs, then all is killed: `down` itself makes records of what it left."""
    collector = stack.processes()["collector"]
    os.kill(collector, signal.SIGSTOP)
    rid = stack.unread = request(stack)  # type: ignore[attr-defined]
    logs = [stack.run / "edge" / "access.log", Path(stack.guard("m1").socket).with_name("access.log")]
    eventually(lambda: all(rid in log.read_text() for log in logs), what="both hops' lines")
    os.kill(collector, signal.SIGKILL)
    kill(stack)
    end_by_down(stack)


ENDS = (
    end_by_down,
    end_by_interrupt,
    end_by_kill_and_down,
    end_by_kill_and_another_start,
    end_with_lines_that_nobody_read,
)


@pytest.mark.parametrize("end", ENDS)
def test_nothing_is_left(end: Callable[[Stack], None], stack: Stack, before: set[str]) -> None:
    begin(stack)
    asked = [request(stack) for _ in range(3)]
    eventually(
        lambda: all(is_whole(stack, rid) for rid in asked), what="what a killed guard would not have written"
    )
    assert any(mark in each for mark in marks(stack) for each in outside(stack))
    end(stack)
    assert _left(stack, before) == set()
    assert not run_path(State(stack.state)).exists()
    assert not list(stack.state.glob("twin-*"))
    for rid in [*asked, *vars(stack).pop("unread", "").split()]:
        told = stack.command("trace", rid)
        assert told.returncode == 0 and "permitted by both hops" in told.stdout, (end, told)
    assert Store.read_only(stack.state).gaps(0) == []


def is_whole(stack: Stack, rid: str) -> bool:
    """Whether both halves of its record are there, and tell the same."""
    told = stack.command("trace", rid)
    return told.returncode == 0 and "permitted by both hops" in told.stdout


def _left(stack: Stack, before: set[str]) -> set[str]:
    """What is left at once; where all are one user, what bears no mark of ours counts if it stays."""
    scratch = {str(place) for place in (stack.policy.parent, *stack.policy.parent.parents)}
    left = {each for each in outside(stack) - before if each not in scratch}
    if os.geteuid() == 0 or any(mark in each for mark in marks(stack) for each in left):
        return left

    def is_gone() -> bool:
        left.intersection_update(outside(stack))
        return not left

    with suppress(AssertionError):
        eventually(is_gone, what="the end of what others have for a moment")
    return left


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_start_that_is_interrupted_leaves_nothing(
    stack: Stack, before: set[str], number: signal.Signals
) -> None:
    """While it prepares, long before anything of it listens to signals."""
    if stack.process.poll() is None:
        end_by_down(stack)
    run = run_path(State(stack.state))
    command = [sys.executable, "-m", "meshward", *START, "--state", str(stack.state)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as starting:
        eventually(run.exists, what="the first of it")
        starting.send_signal(number)
        try:
            said, _ = starting.communicate(timeout=30)
        except subprocess.TimeoutExpired:  # we were slow, and what runs already does not end by a SIGHUP
            starting.terminate()
            said, _ = starting.communicate(timeout=120)
    assert starting.returncode in (0, 1) and "Traceback" not in said, said
    assert not run.exists() and _left(stack, before) == set()


def test_a_refused_start_leaves_nothing(stack: Stack, before: set[str]) -> None:
    """Its policy is good, and its port is somebody else's."""
    begin(stack)
    other = stack.policy.parent / "other"
    done = stack.command(
        *START, str(stack.policy)
    )  # on the same state: refused, and nothing of the first is touched
    assert done.returncode == 3, done
    request(stack)
    command = [sys.executable, "-m", "meshward", *START, str(stack.policy), "--state", str(other)]
    refused = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert refused.returncode == 3 and "MW3005" in refused.stderr, refused
    assert not run_path(State(other)).exists()
    request(stack)
