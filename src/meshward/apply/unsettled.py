"""STATE/unsettled.json: a change that could not be taken back, or given, everywhere; when it is tried again.

The instance itself goes by `Running.unsettled`. The file is for `status`, and so that the next start, which writes
every hop anew, can write down that it ended.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from meshward.kit.clock import to_second
from meshward.kit.statefile import StateFile


@dataclass(frozen=True, slots=True)
class Unsettled:
    """`since` and `next_try` in seconds since the epoch. `means`: what callers see of it, in a sentence."""

    since: float
    why: str
    means: str
    tries: int = 0
    next_try: float = 0.0

    def sentence(self, now: float) -> str:
        again = f"tried {self.tries} time{'' if self.tries == 1 else 's'}, again in {max(0, self.next_try - now):.0f} s"
        return f"UNSETTLED since {to_second(self.since)}: {self.why}. {self.means} ({again})"


UNSETTLED = StateFile(
    "unsettled.json",
    Unsettled,
    place="STATE",
    what="which change could not be taken back, or given, at every hop, and when that is tried again",
    remedy="Remove it: it is for `status` alone, and a start writes every hop anew.",
    renewed=True,
)


def load_unsettled(state: Path) -> Unsettled | None:
    """Raises MeshwardError where it cannot be used."""
    return UNSETTLED.read(state)


def save_unsettled(state: Path, unsettled: Unsettled | None) -> None:
    """A full disk hides it from `status`, and changes nothing else."""
    with suppress(OSError):
        if unsettled is None:
            (state / UNSETTLED.name).unlink(missing_ok=True)
        else:
            UNSETTLED.write(state, unsettled)
