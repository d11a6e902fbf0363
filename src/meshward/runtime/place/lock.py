"""One instance for each state: an flock on STATE/lock, which the kernel lets go however its holder dies."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from meshward.kit import codes, lock
from meshward.kit.errors import MeshwardError
from meshward.kit.statefile import read_plain, unreadable_error
from meshward.runtime.place.directories import State

_PATIENCE = 0.5  # seconds; `status` and `down` take the lock for an instant to see whether it is free
_POLL = 0.02
_MOST_WRITTEN = 100  # bytes


@contextmanager
def hold_state(state: State) -> Iterator[None]:
    """Hold STATE/lock. Raises MeshwardError (RUNS_ALREADY) naming the pid of an instance that runs already.

    Or (MW3016) where it can hold no lock.
    """
    try:
        descriptor = lock.take(state.lock_file, _PATIENCE)
    except OSError as error:
        raise unreadable_error(state.lock_file, error) from None
    if descriptor is None:
        raise _running_already_error(state, _written_pid(state.lock_file))
    try:
        if (pid := _without_lock(state)) is not None:
            raise _running_already_error(state, pid)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
        os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def is_state_free(state: State) -> bool:
    """Whether no instance runs on `state`. Raises MeshwardError where that cannot be seen."""
    try:
        return lock.is_free(state.lock_file) and _without_lock(state) is None
    except OSError as error:
        raise unreadable_error(state.lock_file, error) from None


def holder(state: State) -> int | None:
    """The pid of the instance that runs on `state`, or None.

    The file's number alone may be a dead instance's, reused by somebody else's process: only a process that
    has the file open counts.
    """
    deadline = time.monotonic() + _PATIENCE
    while not is_state_free(state):
        pid = _written_pid(state.lock_file)
        if pid and _opened_as(pid, state.lock_file):
            return pid
        if (pid := _without_lock(state)) is not None:
            return pid
        if time.monotonic() > deadline:
            raise MeshwardError(
                codes.RUNS_ALREADY,
                f"`{state.lock_file}` is held by a process that cannot be seen from here",
            )
        time.sleep(_POLL)
    return None


def _running_already_error(state: State, pid: int | None) -> MeshwardError:
    return MeshwardError(
        codes.RUNS_ALREADY,
        f"an instance runs on `{state.path}` already" + (f" (pid {pid})" if pid else ""),
        f"Stop it with `meshward down --state {state.path}`, or start this one with another --state.",
    )


def _written_pid(path: Path) -> int | None:
    try:
        text = read_plain(path, _MOST_WRITTEN).decode().strip()
    except (OSError, ValueError, MeshwardError):
        return None
    return int(text) if text.isascii() and text.isdecimal() else None


def _without_lock(state: State) -> int | None:
    """The process that writes the supervisor's log: whoever removes or replaces the lock of an instance ends it not."""
    log = state.log("supervisor")
    for process in Path("/proc").glob("[0-9]*"):
        pid = int(process.name)
        if pid != os.getpid() and any(_may_write(pid, number) for number in _opened_as(pid, log)):
            return pid
    return None


def _opened_as(pid: int, path: Path) -> list[str]:
    found = []
    with suppress(OSError):
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                found += [link.name] if link.readlink() == path else []
    return found


def _may_write(pid: int, descriptor: str) -> bool:
    """Whoever looks at the log only reads it."""
    with suppress(OSError):
        flags = re.search(
            r"^flags:\s*([0-7]+)$", Path(f"/proc/{pid}/fdinfo/{descriptor}").read_text(), re.MULTILINE
        )
        return flags is not None and int(flags[1], 8) & os.O_ACCMODE != os.O_RDONLY
    return False
