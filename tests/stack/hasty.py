"""`meshward` with short pauses, for tests that wait for what the schedule does by itself: what it does is the same.

It waits for its parts longer than at work (`patient`), for a machine may be busy, but not while there is a file `HURRY`
beside STATE: then a part stands still, and nobody need wait for it. Nobody is called silent in a hurry all the same.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from meshward.apply.keys import schedule
from meshward.cli.main import main
from meshward.runtime.supervise.handle import SupervisorHandle, hop_error
from meshward.testing.waiting import DEADLINE
from tests.stack import patient

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

    def wait(
        handle: SupervisorHandle, hop: str, missing: Callable[[], Sequence[str]], within: float = DEADLINE
    ) -> None:
        over = threading.Event()
        timer = threading.Timer(ARRIVAL, over.set)

        def lacking() -> Sequence[str]:
            if (state.parent / HURRY).exists() and not timer.is_alive() and not over.is_set():
                timer.start()  # said while this one waits already, too
            lack = missing()
            if lack and over.is_set():
                raise hop_error(hop, f"not there in a hurry: {'; '.join(lack)}")
            return lack

        try:
            arrival(handle, hop, lacking, within=max(within, DEADLINE))
        finally:
            timer.cancel()

    SupervisorHandle.arrival = wait  # type: ignore[method-assign, assignment]


if __name__ == "__main__":
    schedule.POLL, schedule.CHECK = POLL, CHECK
    patient.be()
    _patient(Path(sys.argv[sys.argv.index("--state") + 1]))
    main()
