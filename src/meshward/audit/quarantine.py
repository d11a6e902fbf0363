"""RUN/control/quarantine.json: the hops that were shut away, because of what was found in their own directories.

The supervisor writes it, the collector goes by it: a log that cannot be read closes everything, unless it is of a hop
to which nobody is sent any more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from meshward.kit import codes
from meshward.kit.errors import MeshwardError
from meshward.kit.statefile import StateFile


@dataclass(frozen=True, slots=True)
class Shut:
    """`hop` as people call it; `since` in seconds since the epoch."""

    hop: str
    why: str
    since: float

    @property
    def error(self) -> MeshwardError:
        """What `status` and the log say of it."""
        return MeshwardError(codes.HOP_QUARANTINED, f"{self.hop} is shut away: {self.why}")


@dataclass(frozen=True, slots=True)
class Quarantine:
    """By the directory below RUN, `guards/NN`."""

    hops: Mapping[str, Shut]


QUARANTINE = StateFile(
    "quarantine.json",
    Quarantine,
    place="RUN/control",
    what="which hops are shut away, and what was found in their directories",
    remedy="Remove it: a hop whose directory is not in order is shut away again.",
    renewed=True,
)


def load_quarantine(control: Path) -> Mapping[str, Shut]:
    """Raises MeshwardError for a file that cannot be used."""
    kept = QUARANTINE.read(control)
    return kept.hops if kept else {}


def save_quarantine(control: Path, hops: Mapping[str, Shut]) -> None:
    """Raises OSError."""
    QUARANTINE.write(control, Quarantine(hops))
