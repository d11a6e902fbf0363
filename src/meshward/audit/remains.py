"""What an ended instance's logs still hold: nothing is removed before it is a record."""

from __future__ import annotations

import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from meshward.audit.collector import Collector, sources
from meshward.audit.keeping import load_mark
from meshward.audit.places import ALL_READ
from meshward.audit.store import Store
from meshward.kit.errors import MeshwardError
from meshward.kit.foreign import NotAsMade, logs_in, look, opened


def is_all_read(run: Path, state: Path, log: Any) -> bool:
    """Whether every line in the logs of `run` has its record in `state`. To be asked when all parts have ended.

    What a killed collector left is read now. False where it cannot be: the logs must stay then.
    """
    if (run / ALL_READ).exists() or not _holds_lines(run):
        return True
    stop = threading.Event()
    stop.set()
    try:
        collector = Collector(run, Store(state, once=load_mark(run)), log, ended=True)
        collector.run(stop)
        collector.close()
    except MeshwardError as error:
        log.error(error.message, code=error.code.number, remedy=error.remedy)
    return (run / ALL_READ).exists()


def _holds_lines(run: Path) -> bool:
    """Whether there is a log with anything in it, or one that the collector must look at."""
    try:
        return any(_bytes_in(run / source) for source in sources(run))
    except NotAsMade:
        return True


def _bytes_in(log: Path) -> int:
    with suppress(FileNotFoundError), opened(log.parent) as directory:
        found = [look(directory, name) for name, _ in logs_in(directory, log.name)]
        return sum(about.st_size for about in found if about)
    return 0
