"""The end of an instance: nothing of it stays outside STATE, and no line is lost on the way."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import structlog

from meshward.apply.counters import load_counters
from meshward.apply.keeping import mark_of_records
from meshward.audit.remains import is_all_read
from meshward.kit.errors import MeshwardError
from meshward.runtime.place.directories import State, clean, remove_run, run_path
from meshward.runtime.supervise.part import Progress

ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

log = structlog.get_logger(__name__)


@contextmanager
def ending_once() -> Iterator[None]:
    """What asks us to end raises KeyboardInterrupt inside, once: whoever is leaving then leaves to the end.

    For what comes before the supervisor listens to signals, and after. What was ignored stays so (`nohup`).
    """
    before = {number: signal.getsignal(number) for number in ENDS}
    heard = [number for number in ENDS if before[number] != signal.SIG_IGN]

    def end(*_: object) -> None:
        end_no_more()
        raise KeyboardInterrupt

    for number in heard:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in heard:
            signal.signal(number, before[number])


def end_no_more() -> None:
    """From here on nothing asks us to end: we do."""
    for number in ENDS:
        signal.signal(number, signal.SIG_IGN)


def leave(state: State, progress: Progress) -> None:
    """To be called with STATE/lock held, when every part has ended. Raises MeshwardError.

    1. Sockets and what parts were given go, whatever comes.
    2. What the collector has not read becomes records.
    3. How far the records are is remembered away from them.
    4. Then RUN goes. Where lines could not be kept (a full disk, damaged records) it stays with its logs, and says so.
    """
    clean(state)  # 1
    run = run_path(state)
    all_read = is_all_read(run, state.path, log)  # 2
    _remember_records(state.path)  # 3
    if all_read:
        remove_run(state)  # 4
    else:
        progress(
            f"warning: {run} stays: its logs hold lines that are not recorded yet; the next start reads them"
        )


def _remember_records(state: Path) -> None:
    with suppress(MeshwardError, OSError):  # the next start then knows less
        counters = load_counters(state)
        once = mark_of_records(state, counters.records)
        if counters.accepted and once != counters.records:
            replace(counters, records=once).save(state)
