"""`meshward` with short pauses, for tests that wait for what the schedule does by itself: what it does is the same."""

from __future__ import annotations

from functools import partialmethod

from meshward.apply import local
from meshward.apply.keys import schedule
from meshward.cli.main import main
from meshward.runtime.supervise.handle import SupervisorHandle

POLL, CHECK, ARRIVAL, ANSWER = 0.3, 1.0, 5.0, 0.5  # seconds

if __name__ == "__main__":
    schedule.POLL, schedule.CHECK, local._TIMEOUT = POLL, CHECK, ANSWER
    SupervisorHandle.arrival = partialmethod(SupervisorHandle.arrival, within=ARRIVAL)  # type: ignore[method-assign, assignment]
    main()
