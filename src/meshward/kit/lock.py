"""An flock on a file: held until its descriptor is closed, by its holder or, however that one ends, by the kernel."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from meshward.kit.durable import open_regular

_POLL = 0.02  # seconds


@contextmanager
def hold_lock(path: Path) -> Iterator[None]:
    """Hold the lock on `path`, for oneself alone; while somebody else does, wait. Raises OSError."""
    descriptor = _open_lock(path)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def take(path: Path, patience: float = 0.0) -> int | None:
    """A descriptor that holds the lock until it is closed; None: somebody else still did after `patience` seconds."""
    descriptor, deadline = _open_lock(path), time.monotonic() + patience
    while not _try(descriptor, fcntl.LOCK_EX):
        if time.monotonic() >= deadline:
            os.close(descriptor)
            return None
        time.sleep(_POLL)
    return descriptor


def is_free(path: Path) -> bool:
    """Whether nobody holds the lock. The file is not made. Raises OSError."""
    try:
        descriptor = open_regular(path, os.O_RDONLY)
    except FileNotFoundError:
        return True
    try:
        return _try(descriptor, fcntl.LOCK_SH)
    finally:
        os.close(descriptor)


def _open_lock(path: Path) -> int:
    return open_regular(path, os.O_RDWR | os.O_CREAT)


def _try(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
