"""STATE/status.json: what the supervisor last wrote about its parts."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from meshward.kit.durable import write_atomic
from meshward.runtime.place.directories import State


class Phase(StrEnum):
    """Where a part is in its life."""

    WAITING = "waiting"  # for those it depends on
    STARTING = "starting"
    RUNNING = "running"
    PAUSED = "paused"  # died; is started again when the pause is over
    STOPPING = "stopping"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class PartReport:
    """`since` is seconds since the epoch; `last_exit` is a sentence or empty."""

    name: str
    phase: Phase
    pid: int | None
    uid: int
    since: float
    restarts: int
    last_exit: str


@dataclass(frozen=True, slots=True)
class Report:
    began: float
    notes: tuple[str, ...]
    parts: tuple[PartReport, ...]

    def save(self, state: State) -> None:
        """Replace the file as a whole. Raises OSError (a full disk)."""
        write_atomic(state.status_file, json.dumps(asdict(self), indent=1))


def load_report(state: State) -> Report | None:
    """The last report, or None where there never was one (or it was not written whole)."""
    try:
        value: dict[str, Any] = json.loads(state.status_file.read_text())
        parts = tuple(PartReport(**{**part, "phase": Phase(part["phase"])}) for part in value["parts"])
        return Report(value["began"], tuple(value["notes"]), parts)
    except (OSError, ValueError, KeyError, TypeError):
        return None
