"""Whatever runs as a part's own user, also what has left the part's process group, and outlives it.

A part that was taken over can leave a process that holds nothing of ours. Its user is the part's again at the next
start: it could stop that part, and so keep the whole instance from starting.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from meshward.kit.errors import MeshwardError
from meshward.runtime.place.directories import State
from meshward.runtime.place.identities import (
    CLEAN_ENVIRONMENT,
    ProcessIdentity,
    is_separate,
    is_somebody,
    load_numbers,
    popen_user,
)

_DEADLINE = 5.0  # seconds
_PASSES = 5
_PAUSE = 0.02
_ABOUT = re.compile(
    r"^State:\s+(\S).*^PPid:\s+(\d+).*^Uid:\s+(\d+).*^Threads:\s+(\d+)", re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True, slots=True)
class _Process:
    uid: int
    parent: int
    dead: bool


def end_all_of(identity: ProcessIdentity) -> None:
    """Kill every process of the user, where it is a part's alone; nothing happens where the machine knows the user.

    The kernel does it in one step (kill(2), pid -1): nobody can fork faster. It is done before the exec, which fails
    where the user has as many processes as it may. Raises OSError, subprocess.SubprocessError.
    """
    if not _is_a_parts_alone(identity):
        return
    with suppress(BlockingIOError):  # too many of them, and all killed
        subprocess.run(
            ["/bin/true"],
            **popen_user(identity),
            preexec_fn=_kill_all,
            env=CLEAN_ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            timeout=_DEADLINE,
            check=False,
        )


def end_strays(state: State) -> list[int]:
    """Kill what runs as a user of `state`'s parts; returns their pids. Call it when no part runs, with STATE/lock held.

    Another instance's parts, whose numbers may be the same, have a supervisor that lives.
    """
    numbers = frozenset[int]()
    if os.geteuid() == 0:
        with suppress(MeshwardError):  # who needs the file says so
            numbers = load_numbers(state)
    return end_strays_of(numbers)


def end_strays_of(uids: Collection[int]) -> list[int]:
    """`end_strays`, of some users alone. Nothing of them may be run by us.

    Who forks faster than we look is seen by nobody:
    where nobody else has the number, all of it is killed in one step.
    """
    users = frozenset(uid for uid in uids if _is_a_parts_alone(ProcessIdentity(uid, uid)))
    if not users:
        return []
    for uid in users - _kept_users(users):
        with suppress(OSError, subprocess.SubprocessError):
            end_all_of(ProcessIdentity(uid, uid))
    ended: list[int] = []
    for turn in range(_PASSES):
        if not (found := _strays(users)):
            break
        ended += [pid for pid in found if pid not in ended]
        for pid, process in found.items():
            _end(pid, process)
        time.sleep(_PAUSE * turn)
    return ended


def _is_a_parts_alone(identity: ProcessIdentity) -> bool:
    """Not where parts run as we do, nor where a service of the machine has the number meanwhile."""
    return is_separate(identity) and identity.uid != os.geteuid() and not is_somebody(identity.uid)


def _kill_all() -> None:
    with suppress(ProcessLookupError):
        os.kill(-1, signal.SIGKILL)


def _end(pid: int, known: _Process) -> None:
    with suppress(OSError):
        descriptor = os.pidfd_open(pid)  # from here on the number cannot come to mean another process
        try:
            if (now := _look(pid)) is not None and now.uid == known.uid:
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        finally:
            os.close(descriptor)
    if known.parent == os.getpid():
        with suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)


def _strays(users: frozenset[int]) -> Mapping[int, _Process]:
    theirs, ours = _of(users), os.getpid()
    return {
        pid: process
        for pid, process in theirs.items()
        if not (process.dead and process.parent != ours) and not _is_kept(_keeper(pid, theirs))
    }


def _kept_users(users: frozenset[int]) -> frozenset[int]:
    """Those that are the users of another instance's parts as well."""
    theirs = _of(users)
    return frozenset(process.uid for pid, process in theirs.items() if _is_kept(_keeper(pid, theirs)))


def _of(users: frozenset[int]) -> Mapping[int, _Process]:
    numbers = [int(path.name) for path in Path("/proc").glob("[0-9]*")]
    seen = {pid: process for pid in numbers if (process := _look(pid)) is not None}
    return {pid: process for pid, process in seen.items() if process.uid in users}


def _keeper(pid: int, theirs: Mapping[int, _Process]) -> int:
    """The nearest ancestor that is another user's."""
    for _ in theirs:
        if pid not in theirs:
            break
        pid = theirs[pid].parent
    return pid


def _is_kept(keeper: int) -> bool:
    """Whether it is a supervisor, but not we ourselves: one holds its STATE/lock."""
    if keeper in (0, 1, os.getpid()):
        return False
    with suppress(OSError):
        held = Path(f"/proc/{keeper}/fd").iterdir()
        return any(_name_of(each) == "lock" for each in held)
    return False


def _name_of(descriptor: Path) -> str:
    with suppress(OSError):
        return descriptor.readlink().name
    return ""


def _look(pid: int) -> _Process | None:
    with suppress(OSError):
        if found := _ABOUT.search(Path(f"/proc/{pid}/status").read_text(errors="replace")):
            state, parent, uid, threads = found.groups()
            return _Process(int(uid), int(parent), state in "ZX" and int(threads) <= 1)
    return None
