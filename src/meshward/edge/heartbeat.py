"""Can records be kept? The collector touches a heartbeat file; when it goes quiet, so does the gateway."""

from __future__ import annotations

import os
from pathlib import Path

from meshward.edge.answers import CACHE_WINDOW
from meshward.kit.clock import Clock, system_clock


class Heartbeat:
    """Watches one heartbeat. `max_blind`, in seconds, includes the time that nginx uses old decisions."""

    def __init__(self, heartbeat: Path | None, clock: Clock = system_clock) -> None:
        self._heartbeat = heartbeat
        self._clock = clock

    def is_blind(self, max_blind: int) -> bool:
        """Whether the heartbeat is too old, or not there. Without a heartbeat file nothing is checked."""
        if self._heartbeat is None:
            return False
        try:
            beat = os.stat(self._heartbeat).st_mtime  # noqa: PTH116  a third of Path.stat's cost, on every decision
        except OSError:
            return True
        # A beat from the future says as little about now as one from the past.
        return abs(self._clock() - beat) > max(max_blind - CACHE_WINDOW, max_blind / 2)
