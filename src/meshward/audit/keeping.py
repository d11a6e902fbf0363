"""RUN/control/keeping.json: how long records are kept, how much room they may take, how far they once were. The
supervisor writes it with each revision, the collector goes by it; without it nothing is erased.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from meshward.audit.anchor import Mark
from meshward.audit.places import CONTROL
from meshward.kit.errors import MeshwardError
from meshward.kit.statefile import StateFile

ALMOST = 0.8
"""The part of the room from which on `status` raises an alarm."""


@dataclass(frozen=True, slots=True)
class Keeping:
    """`retention` in seconds, None: for ever. `max_disk` in bytes, None: whatever the disk has. `once`: how far the
    records are remembered to have been, None: there were none yet.
    """

    retention: int | None = None
    max_disk: int | None = None
    once: Mark | None = None


KEEPING = StateFile(
    "keeping.json",
    Keeping,
    place="RUN/control",
    what="how long records are kept, how much room they may take, and how far they once were",
    remedy="Apply the policy again: it is written anew. Until then no record is erased.",
    renewed=True,
)


def load_mark(run: Path) -> Mark | None:
    """How far the records of the instance in `run` once were, for whoever opens them to write."""
    return KeepingFile(run / CONTROL).now().once


class KeepingFile:
    """The file as it last could be read, looked at again when it changed."""

    def __init__(self, control: Path) -> None:
        self._control = control
        self._print: tuple[int, int] | None = None
        self._keeping = Keeping()

    def now(self) -> Keeping:
        """A file that is gone or damaged erases nothing; the room that was given stays."""
        try:
            state = (self._control / KEEPING.name).lstat()
            found = state.st_ino, state.st_mtime_ns
        except OSError:
            found = None
        if found is None or found != self._print:
            self._print, self._keeping = found, self._read()
        return self._keeping

    def _read(self) -> Keeping:
        try:
            return KEEPING.read(self._control) or Keeping(None, self._keeping.max_disk)
        except MeshwardError:
            return Keeping(None, self._keeping.max_disk)
