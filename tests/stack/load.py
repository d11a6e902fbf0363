"""Callers without pause, in threads that end with the block."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def at_work(stop: threading.Event, *works: Callable[[], None]) -> Iterator[None]:
    """Run each of `works` in a thread; at the end set `stop`, for which they watch, and wait for them."""
    threads = [threading.Thread(target=work, daemon=True) for work in works]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(60)
