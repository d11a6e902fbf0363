"""What a part leaves behind ends with it: whatever it is called, however it hides, and nobody else's with it."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from meshward.apply.quarantine import shut_away
from meshward.runtime.machine import guard_name
from meshward.runtime.place import identities
from meshward.runtime.place.directories import State
from meshward.runtime.place.identities import (
    FIRST,
    LAST,
    NUMBERS,
    Numbers,
    ProcessIdentity,
    is_separate,
    is_somebody,
    popen_user,
)
from meshward.runtime.place.reachable import hindrance
from meshward.runtime.supervise.leftovers import end_leftovers
from meshward.runtime.supervise.strays import end_all_of, end_strays_of
from tests.stack.running import eventually


def _processes_of(uid: int) -> list[int]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            told = process.joinpath("status").read_text(errors="replace")
        except OSError:
            continue
        if f"\nUid:\t{uid}\t" in told and not ("\nState:\tZ" in told and "\nThreads:\t1\n" in told):
            found.append(int(process.name))
    return found


def _nobody() -> int:
    """A part's number that nobody has. Another run of these tests, beside this one, finds another."""
    while True:
        number = random.SystemRandom().randint(FIRST, LAST)
        if not is_somebody(number) and not _processes_of(number):
            return number


_NUMBER = _nobody()
HOP = ProcessIdentity(_NUMBER, _NUMBER)
pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="not root: every part has our uid"),
    pytest.mark.skipif(
        os.geteuid() == 0 and hindrance(HOP, ["json"]) != "", reason="no other user can run this Python"
    ),
]

ORPHAN = "import os, sys, time\nif os.fork(): os._exit(0)\nos.setsid()\n"
"""How it leaves whoever started it."""
STRAYS = {
    "a name that is no text": "open('/proc/self/comm', 'wb').write(b'\\xff\\xfe)(')\n",
    "a first thread that has ended": (
        "import ctypes, threading\n"
        "threading.Thread(target=time.sleep, args=(1000,)).start()\n"
        "print('here', flush=True)\n"
        "ctypes.CDLL(None).pthread_exit(None)\n"
    ),
    "a user namespace of its own": "import ctypes\nctypes.CDLL(None).unshare(0x10000000)\n",
}


def alive() -> list[int]:
    return _processes_of(HOP.uid)


def as_hop(script: str, **more: object) -> subprocess.Popen[str]:
    """A program of the hop's user; returns when it has said something."""
    started = subprocess.Popen(
        [sys.executable, "-c", script],
        **{**popen_user(HOP), "stdout": subprocess.PIPE, "text": True, "cwd": "/", **more},
    )
    assert started.stdout is not None and started.stdout.readline()
    return started


@pytest.fixture
def state(tmp_path: Path) -> State:
    """Of an instance that has given the hop its number."""
    assert is_separate(HOP) and not alive()
    NUMBERS.write(tmp_path, Numbers({"guard-00-m1-v1": HOP.uid}))
    (tmp_path / "logs").mkdir()
    return State(tmp_path)


@pytest.fixture(autouse=True)
def ended() -> Iterator[None]:
    yield
    for pid in alive():
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: not alive(), what="the end of all")


@pytest.mark.parametrize("stray", STRAYS.values(), ids=STRAYS)
def test_a_stray_ends_before_the_next_start(state: State, stray: str) -> None:
    """Ours to reap, as a supervisor's are, or not: who started it has ended."""
    as_hop(f"{ORPHAN}{stray}print('here', flush=True)\ntime.sleep(1000)").wait()
    assert alive()
    assert end_leftovers(state) == []
    eventually(lambda: not alive(), what="the end of it")


def test_a_part_may_call_itself_what_it_likes(state: State) -> None:
    """It holds its log, as a part does whose supervisor was killed."""
    with (state.logs / "guard.log").open("w") as log:
        part = as_hop(
            f"import os, sys, time\n{STRAYS['a name that is no text']}"
            "print('here', flush=True)\ntime.sleep(1000)",
            stderr=log,
            start_new_session=True,
        )
    (found,) = end_leftovers(state)
    assert found.pid == part.pid and found.command.isprintable()
    eventually(lambda: not alive(), what="the end of it")


def test_a_service_of_the_machine_that_got_the_number_stays(
    state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As systemd gives it to a service with `DynamicUser=`."""
    as_hop(f"{ORPHAN}print('here', flush=True)\ntime.sleep(1000)").wait()
    (tmp_path / "dynamic").mkdir()
    (tmp_path / "dynamic" / str(HOP.uid)).touch()
    monkeypatch.setattr(identities, "_DYNAMIC", tmp_path / "dynamic")
    assert end_leftovers(state) == []
    end_all_of(HOP)
    assert len(alive()) == 1
    monkeypatch.undo()
    end_leftovers(state)
    eventually(lambda: not alive(), what="the end of it")


def test_where_parts_run_as_we_do_nobody_is_ended(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever starts it may have a number out of the same range: their parts and their shell have it, too."""
    as_hop(f"{ORPHAN}print('here', flush=True)\ntime.sleep(1000)").wait()
    monkeypatch.setattr(os, "geteuid", lambda: HOP.uid)
    assert end_strays_of([HOP.uid]) == []
    end_all_of(HOP)
    monkeypatch.undo()
    assert len(alive()) == 1


@contextmanager
def another_instances_part(lock: Path) -> Iterator[int]:
    """A part of the same number; its supervisor lives: it holds its own STATE/lock."""
    supervisor = (
        "import os, subprocess, sys\n"
        f"lock = open({str(lock)!r}, 'w')\n"
        f"part = subprocess.Popen(['sleep', '1000'], user={HOP.uid}, group={HOP.gid}, extra_groups=[], cwd='/')\n"
        "print(part.pid, flush=True)\nsys.stdin.read()\npart.kill()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", supervisor], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        yield int(other.stdout.readline())


def test_another_instances_part_of_the_same_number_stays(state: State, tmp_path: Path) -> None:
    with another_instances_part(tmp_path / "lock") as part:
        stray = as_hop(f"{ORPHAN}print('here', flush=True)\ntime.sleep(1000)")
        assert end_leftovers(state) == []
        eventually(lambda: alive() == [part], what="the end of the stray alone")
        stray.wait()


def test_whoever_is_shut_away_takes_no_other_instances_part_along(tmp_path: Path) -> None:
    guards, supervisor = SimpleNamespace(shut={}), SimpleNamespace(shut=lambda *_: None)
    run = SimpleNamespace(guard_dir=lambda _: tmp_path / "none", control_dir=tmp_path)
    machine = SimpleNamespace(run=run, known={guard_name("m1/v1", 0): HOP})
    mesh: Any = SimpleNamespace(
        machine=machine, guards=guards, supervisor=supervisor, note=lambda *_, **__: None
    )
    with another_instances_part(tmp_path / "lock") as part:
        as_hop(f"{ORPHAN}print('here', flush=True)\ntime.sleep(1000)").wait()
        shut_away(mesh, ("m1/v1", 0), "it lies")
        eventually(lambda: alive() == [part], what="the end of the stray alone")


def test_a_user_with_as_many_processes_as_it_may_is_ended(state: State) -> None:
    """Nothing more can be run as that user."""
    many = (
        "import os, resource, time\nresource.setrlimit(resource.RLIMIT_NPROC, (20, 20))\n"
        "try:\n    while True:\n        if os.fork() == 0: time.sleep(1000)\n"
        "except BlockingIOError: print('full', flush=True)\ntime.sleep(1000)"
    )
    as_hop(f"{ORPHAN}{many}").wait()
    end_all_of(HOP)
    eventually(lambda: not alive(), what="the end of all")


def test_who_forks_without_end_is_ended(state: State, tmp_path: Path) -> None:
    """Nobody sees it: it is never where one looks. It says that it lives."""
    tmp_path.chmod(0o755)
    beats = tmp_path / "beats"
    beats.touch()
    os.chown(beats, HOP.uid, HOP.gid)
    forks = (
        "file = sys.stderr.fileno()\nprint('here', flush=True)\n"
        "while True:\n    if os.fork(): os._exit(0)\n    os.write(file, b'x')\n    time.sleep(0.001)"
    )
    with beats.open("ab") as written:
        as_hop(f"{ORPHAN}{forks}", stderr=written).wait()
    eventually(lambda: beats.stat().st_size > 20, what="its beats")
    end_leftovers(state)

    def stands_still() -> bool:
        before = beats.stat().st_size
        time.sleep(0.2)
        return beats.stat().st_size == before

    eventually(stands_still, what="the end of it")
