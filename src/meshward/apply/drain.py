"""Guards that nobody is sent to any more: they end when their last request has, or when it has had its time."""

from __future__ import annotations

import threading
import time

import structlog

from meshward.apply.guards import Guards
from meshward.apply.live_revision import Guard
from meshward.kit.errors import MeshwardError
from meshward.runtime.supervise.handle import SupervisorHandle

MOST = 120.0  # seconds for the last request
_LEAST = 5.0  # seconds; the edge may still hand over a request that it decided before, once its body is read
_POLL = 0.25

log = structlog.get_logger(__name__)


class Drains:
    """Their slots are free again only when their processes have ended: the edge keeps connections open."""

    def __init__(self, guards: Guards) -> None:
        self._guards = guards
        self._draining: dict[int, Guard] = {}

    def slots(self) -> tuple[int, ...]:
        return tuple(self._draining)

    def begin(self, guard: Guard, supervisor: SupervisorHandle) -> None:
        """Returns at once."""
        self._draining[guard[1]] = guard
        threading.Thread(target=self._drain, args=(guard, supervisor), daemon=True).start()

    def _drain(self, guard: Guard, supervisor: SupervisorHandle) -> None:
        began = time.monotonic()
        time.sleep(_LEAST)
        while self._guards.is_busy(guard) and time.monotonic() - began < MOST and not supervisor.stopping:
            time.sleep(_POLL)
        try:
            self._guards.remove(guard, supervisor)
            log.info("guard_removed", guard=guard[0], slot=guard[1], after=round(time.monotonic() - began, 1))
            del self._draining[guard[1]]
        except (MeshwardError, OSError) as error:  # its slot stays taken; the next start has it free again
            log.error("guard_not_removed", guard=guard[0], why=str(error))
