"""Processes of an instance whose supervisor is gone.

A part is known by its stdout or stderr: a log in STATE/logs, which only parts are given. Numbers written down
at start would not do: the kernel reuses them. What a part left behind that holds neither is known by its user
(`strays`).
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import structlog

from meshward.runtime.place.directories import State
from meshward.runtime.place.ports import Holder, command_of
from meshward.runtime.supervise.strays import end_strays

log = structlog.get_logger(__name__)
_DEADLINE = 5.0  # seconds after SIGKILL


def leftovers(state: State) -> list[Holder]:
    """Live parts of `state`, by pid. While an instance runs, these are its own."""
    return list(_find(state))


def end_leftovers(state: State) -> list[Holder]:
    """Kill what a killed supervisor left behind; returns what it was. Call it only with STATE/lock held."""
    found = leftovers(state)
    deadline = time.monotonic() + _DEADLINE
    for process in found:
        with suppress(ProcessLookupError):
            _kill(state, process.pid, deadline)
    for pid in end_strays(state):
        log.warning("stray_ended", pid=pid)
    return found


def _kill(state: State, pid: int, deadline: float) -> None:
    descriptor = os.pidfd_open(pid)  # from here on the number cannot come to mean another process
    try:
        if _is_detached(pid) and _writes_to(pid, state.logs):
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))
    finally:
        os.close(descriptor)


def _find(state: State) -> Iterator[Holder]:
    for process in sorted(int(path.name) for path in Path("/proc").glob("[0-9]*")):
        with suppress(OSError):
            if _is_detached(process) and _writes_to(process, state.logs):
                yield Holder(process, command_of(process))


def _is_detached(pid: int) -> bool:
    """Whether `pid` is outside our session, as every part is: a shell that logs `up` there is none."""
    return os.getsid(pid) != os.getsid(0)


def _writes_to(pid: int, logs: Path) -> bool:
    """Whether stdout or stderr of `pid` is a file in `logs`. A zombie has neither."""
    for number in (1, 2):
        with suppress(OSError):
            if Path(f"/proc/{pid}/fd/{number}").readlink().parent == logs:
                return True
    return False
