"""The end of an instance: nothing of it stays outside STATE, and no line is lost on the way."""

from __future__ import annotations

import structlog

from meshward.audit.remains import is_all_read
from meshward.runtime.place.directories import State, clean, remove_run, run_path
from meshward.runtime.supervise.part import Progress

log = structlog.get_logger(__name__)


def leave(state: State, progress: Progress) -> None:
    """To be called with STATE/lock held, when every part has ended. Raises MeshwardError.

    1. Sockets and what parts were given go, whatever comes.
    2. What the collector has not read becomes records.
    3. Then RUN goes. Where lines could not be kept (a full disk, damaged records) it stays with its logs, and says so.
    """
    clean(state)  # 1
    run = run_path(state)
    if is_all_read(run, state.path, log):  # 2
        remove_run(state)  # 3
    else:
        progress(
            f"warning: {run} stays: its logs hold lines that are not recorded yet; the next start reads them"
        )
