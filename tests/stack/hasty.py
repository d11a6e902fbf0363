"""`meshward` with short pauses, for tests that wait for what the schedule does by itself: what it does is the same.

It waits for its parts longer than at work, for a machine may be busy, but not while there is a file `HURRY` beside
STATE: then a part stands still, and nobody need wait for it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from meshward.apply.keys import schedule
from meshward.cli.main import main
from meshward.runtime.supervise.handle import SupervisorHandle
from meshward.testing.waiting import DEADLINE

POLL, CHECK, ARRIVAL = 0.3, 1.0, 5.0  # seconds
HURRY = "hurry"


@contextmanager
def hurried(state: Path) -> Iterator[None]:
    """Nobody waits long for a part of the instance on `state`."""
    file = state.parent / HURRY
    file.touch()
    try:
        yield
    finally:
        file.unlink()


def _patient(state: Path) -> None:
    arrival = SupervisorHandle.arrival

    def wait(handle: SupervisorHandle, hop: str, missing: Callable[[], Sequence[str]]) -> None:
        arrival(handle, hop, missing, within=ARRIVAL if (state.parent / HURRY).exists() else DEADLINE)

    SupervisorHandle.arrival = wait  # type: ignore[method-assign, assignment]


if __name__ == "__main__":
    schedule.POLL, schedule.CHECK = POLL, CHECK
    _patient(Path(sys.argv[sys.argv.index("--state") + 1]))
    main()
