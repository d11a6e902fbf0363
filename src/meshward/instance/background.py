"""Work beside the parts, until the instance stops. No piece of it ends unheard.

A piece that raises, or that comes to an end, is a fault of ours. It is logged and said, and begun anew after a pause
that grows: as when a part dies, what serves goes on serving.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import structlog

from meshward.runtime.supervise.part import Progress

_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0  # seconds before a piece begins anew
_FORGIVEN = 120.0  # seconds after which one that fails counts as one that did not before

Work = Callable[[], Awaitable[None]]

log = structlog.get_logger(__name__)


class Background:
    """The pieces that have begun."""

    def __init__(self, group: asyncio.TaskGroup, say: Progress) -> None:
        self._group = group
        self._say = say
        self._tasks: list[asyncio.Task[None]] = []

    def begin(self, name: str, work: Work) -> None:
        """Returns at once."""
        self._tasks.append(self._group.create_task(_go_on(name, work, self._say), name=name))

    def cancel(self) -> None:
        for task in self._tasks:
            task.cancel()


@asynccontextmanager
async def background(say: Progress) -> AsyncIterator[Background]:
    """What is begun goes on while inside, and has ended after. Raises what is raised inside."""
    raised: Exception | None = None
    async with asyncio.TaskGroup() as group:
        beside = Background(group, say)
        try:
            yield beside
        except Exception as error:  # the group would wrap it
            raised = error
        finally:
            beside.cancel()
    if raised is not None:
        raise raised


async def _go_on(name: str, work: Work, say: Progress) -> None:
    pause = _FIRST_PAUSE
    while True:
        began = time.monotonic()
        why = await _await_end(name, work)
        if time.monotonic() - began >= _FORGIVEN:
            pause = _FIRST_PAUSE
        with suppress(Exception):  # it is logged; that nobody hears it is no reason to end the others
            say(f"{name} ended ({why}); it begins anew in {pause:.0f} s, see STATE/logs")
        await asyncio.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)


async def _await_end(name: str, work: Work) -> str:
    """How it ended, when it has."""
    try:
        await work()
    except Exception as error:
        log.exception("background_fault", work=name)
        return type(error).__name__
    log.error("background_ended", work=name)
    return "though it has no end"
