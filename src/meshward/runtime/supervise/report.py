"""STATE/status.json: what the supervisor last wrote about its parts."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from meshward.kit.statefile import StateFile
from meshward.runtime.place.directories import State


class Phase(StrEnum):
    """Where a part is in its life."""

    WAITING = "waiting"  # for those it depends on
    STARTING = "starting"
    RUNNING = "running"
    PAUSED = "paused"  # died; is started again when the pause is over
    STOPPING = "stopping"
    STOPPED = "stopped"
    QUARANTINED = "quarantined"  # shut away because of what it did; not started again by itself


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
class SupervisorReport:
    began: float
    notes: tuple[str, ...]
    parts: tuple[PartReport, ...]

    def save(self, state: State) -> None:
        """Replace the file as a whole. Raises OSError (a full disk)."""
        REPORT.write(state.path, self)


REPORT = StateFile(
    "status.json",
    SupervisorReport,
    place="STATE",
    what="what the supervisor last wrote about its parts",
    remedy="Remove it: the supervisor writes it anew whenever a part changes.",
    renewed=True,
)


def load_report(state: State) -> SupervisorReport | None:
    """The last report, or None where there never was one. Raises MeshwardError for one that cannot be used."""
    return REPORT.read(state.path)
