"""One instance for each state: an flock on STATE/lock, which the kernel lets go however its holder dies."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
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
        raise _running_already_error(state)
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
        os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def is_state_free(state: State) -> bool:
    """Whether no instance runs on `state`. Raises MeshwardError where that cannot be seen."""
    try:
        return lock.is_free(state.lock_file)
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
        if pid and _has_open(pid, state.lock_file):
            return pid
        if time.monotonic() > deadline:
            raise MeshwardError(
                codes.RUNS_ALREADY,
                f"`{state.lock_file}` is held by a process that cannot be seen from here",
            )
        time.sleep(_POLL)
    return None


def _running_already_error(state: State) -> MeshwardError:
    pid = _written_pid(state.lock_file)
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


def _has_open(pid: int, path: Path) -> bool:
    try:
        return any(link.readlink() == path for link in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return False
