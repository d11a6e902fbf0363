"""The supervisor for threads: it lives in the event loop, and only the main thread may start parts."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import CancelledError
from typing import Any

from meshward.kit import codes
from meshward.kit.errors import MeshwardError
from meshward.runtime.supervise.process import ProcessSpec, Ready
from meshward.runtime.supervise.supervisor import Supervisor

_POLL = 0.004  # seconds
_FIRST_START = 40.0  # seconds


class SupervisorHandle:
    """Asks `supervisor` from another thread than the loop's, and waits for what it did."""

    def __init__(self, supervisor: Supervisor, loop: asyncio.AbstractEventLoop) -> None:
        self._supervisor = supervisor
        self._loop = loop

    def add(self, spec: ProcessSpec, needed_by: Sequence[str]) -> None:
        """Raises MeshwardError if it does not start."""
        self._await(self._supervisor.add(spec, needed_by))

    def remove(self, name: str) -> None:
        self._await(self._supervisor.remove(name))

    def shut(self, name: str, why: str) -> None:
        """End it and leave it ended."""
        self._await(self._supervisor.shut(name, why))

    def release(self, name: str) -> None:
        """Start it again."""
        self._await(self._supervisor.release(name))

    def respecify(self, name: str, ready: Ready) -> None:
        self._loop.call_soon_threadsafe(self._supervisor.respecify, name, ready)

    def hang_up(self, name: str) -> int | None:
        """SIGHUP for the part; its pid, or None where it does not run just now."""
        return self._signal(name, signal.SIGHUP)

    def pid(self, name: str) -> int | None:
        return self._signal(name, None)

    def running(self, name: str) -> int | None:
        """The pid of the part, where it was ready and has not died since."""

        async def look() -> int | None:
            return self._supervisor.running(name)

        pid: int | None = self._await(look())
        return pid

    def arrival(self, hop: str, missing: Callable[[], Sequence[str]], within: float = 5.0) -> None:
        """Wait until nothing is `missing` (sentences). Raises MeshwardError (MW3021) after `within` seconds.

        `missing` may raise MeshwardError itself, where waiting is of no use.
        """
        deadline = time.monotonic() + within
        while lack := missing():
            if self._supervisor.stopping:
                raise hop_error(hop, "the instance is being stopped")
            if time.monotonic() > deadline:
                raise hop_error(hop, f"not there after {within:.0f} s: {'; '.join(lack)}")
            time.sleep(_POLL)

    @property
    def stopping(self) -> bool:
        return self._supervisor.stopping

    def _signal(self, name: str, number: signal.Signals | None) -> int | None:
        async def send() -> int | None:
            return self._supervisor.signal(name, number)

        pid: int | None = self._await(send())
        return pid

    def _await(self, asked: Coroutine[Any, Any, Any]) -> Any:
        try:
            return asyncio.run_coroutine_threadsafe(asked, self._loop).result(_FIRST_START)
        except (CancelledError, RuntimeError, TimeoutError):
            raise hop_error("the supervisor", "it is being stopped, or stuck") from None


def hop_error(hop: str, why: str) -> MeshwardError:
    """A hop did not take what it was given."""
    return MeshwardError(
        codes.HOP_REFUSED,
        f"{hop} refused: {why}",
    )
