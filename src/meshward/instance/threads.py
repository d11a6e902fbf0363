"""The instance's threads. One that hangs, in what a hop answers or in a file of a hop's, keeps nobody from stopping."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import structlog

from meshward.kit.exits import Exit
from meshward.runtime.supervise.part import Progress

LAST = 10.0
"""Seconds that whatever is under way has to end, once no part runs any more."""
_MOST = 64  # so many that a few which hang are not missed

log = structlog.get_logger(__name__)


class Threads(ThreadPoolExecutor):
    """For `asyncio.to_thread`. Whoever ends the loop does not wait for them: `all_ended` does."""

    def __init__(self) -> None:
        super().__init__(_MOST, "instance")

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: ARG002
        super().shutdown(wait=False, cancel_futures=cancel_futures)


@contextmanager
def all_ended(say: Progress, within: float = LAST) -> Iterator[None]:
    """What was begun inside has ended after. Where it has not `within` seconds, the whole process ends here and now.

    So what holds STATE's lock lets it go with its last thread: none of them writes into the next instance's files. As
    after a `kill -9`, the next start writes all of it anew.
    """
    before = set(threading.enumerate())
    try:
        yield
    finally:
        if hanging := _await_end(before, time.monotonic() + within):
            for thread in hanging:
                log.error("thread_hangs", thread=thread.name, at=_place(thread))
            say(f"{len(hanging)} threads did not end in {within:.0f} s, see STATE/logs; leaving without them")
            if (raised := sys.exc_info()[1]) is not None:
                say(str(raised))
            sys.stdout.flush()
            os._exit(Exit.FAULT)


def _await_end(before: set[threading.Thread], end: float) -> list[threading.Thread]:
    """Of the threads begun since, those that still run at `end`."""
    begun = [thread for thread in threading.enumerate() if thread not in before and not thread.daemon]
    for thread in begun:
        thread.join(max(0.0, end - time.monotonic()))
    return [thread for thread in begun if thread.is_alive()]


def _place(thread: threading.Thread) -> str:
    """Where it is: its innermost lines."""
    frame = sys._current_frames().get(thread.ident or 0)
    places: list[str] = []
    while frame is not None and len(places) < 6:
        places.append(f"{frame.f_code.co_filename}:{frame.f_lineno}")
        frame = frame.f_back
    return " < ".join(places)
