"""What an ended instance's logs still hold: nothing is removed before it is a record."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from meshward.audit.collector import Collector, sources
from meshward.audit.places import ALL_READ
from meshward.audit.store import Store
from meshward.kit.errors import MeshwardError


def is_all_read(run: Path, state: Path, log: Any) -> bool:
    """Whether every line in the logs of `run` has its record in `state`. To be asked when all parts have ended.

    What a killed collector left is read now. False where it cannot be: the logs must stay then.
    """
    if (run / ALL_READ).exists() or not _holds_lines(run):
        return True
    stop = threading.Event()
    stop.set()
    try:
        collector = Collector(run, Store(state), log)
        collector.run(stop)
        collector.close()
    except MeshwardError as error:
        log.error(error.message, code=error.code.number, remedy=error.remedy)
    return (run / ALL_READ).exists()


def _holds_lines(run: Path) -> bool:
    """Whether there is a log with anything in it, or one that is no plain file: the collector looks at it."""
    found = [path for source in sources(run) for path in _rotated(run / source)]
    return any(not path.is_file() or path.is_symlink() or path.stat().st_size for path in found)


def _rotated(path: Path) -> list[Path]:
    return sorted(path.parent.glob(f"{path.name}*")) if path.parent.is_dir() else []
