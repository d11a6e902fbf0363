"""meshward down: stop the running instance, and see that nothing of it stays."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

from meshward.instance.leaving import leave
from meshward.kit import codes
from meshward.kit.errors import MeshwardError
from meshward.runtime.place.directories import State
from meshward.runtime.place.lock import hold_state, holder, is_state_free
from meshward.runtime.supervise.leftovers import end_leftovers, leftovers
from meshward.runtime.supervise.part import Progress, silent

DEADLINE = 30.0  # seconds
_POLL = 0.05


def down(path: Path, *, deadline: float = DEADLINE, progress: Progress = silent) -> bool:
    """Stop the instance whose state is `path`; whether anything of it ran. State and records stay.

    Raises MeshwardError naming what still runs after `deadline` seconds.
    """
    state = State(path)
    if not state.path.is_dir():
        return False
    pid = holder(state)
    if pid is not None:
        _ask_to_stop(pid, state)
        _wait_until_free(state, pid, deadline, progress)
    with hold_state(state):
        ended = end_leftovers(state)
        leave(state, progress)
    return pid is not None or bool(ended)


def _ask_to_stop(pid: int, state: State) -> None:
    with suppress(ProcessLookupError):
        descriptor = os.pidfd_open(pid)
        try:
            if holder(state) == pid:  # again, now that the number cannot come to mean another process
                signal.pidfd_send_signal(descriptor, signal.SIGTERM)
        finally:
            os.close(descriptor)


def _wait_until_free(state: State, pid: int, deadline: float, progress: Progress) -> None:
    began, mark = time.monotonic(), 1.0
    while not is_state_free(state):
        passed = time.monotonic() - began
        if passed > deadline:
            raise _still_running_error(state, pid, deadline)
        if passed >= mark:
            progress(f"stopping: {mark:.0f} s")
            mark *= 2
        time.sleep(_POLL)


def _still_running_error(state: State, pid: int, deadline: float) -> MeshwardError:
    parts = ", ".join(f"`{part.command}` (pid {part.pid})" for part in leftovers(state))
    return MeshwardError(
        codes.DID_NOT_STOP,
        f"the instance (pid {pid}) did not stop within {deadline:.0f} s; still running: {parts or 'none'}",
        f"`kill -9 {pid}` ends it and its parts with it; then run `meshward down` again.",
    )
