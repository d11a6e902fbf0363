"""Whatever runs as a part's own user, also what has left the part's process group."""

from __future__ import annotations

import os

from meshward.runtime.place.identities import ProcessIdentity, is_separate, run_as

_DEADLINE = 5.0  # seconds


def end_all_of(identity: ProcessIdentity) -> None:
    """Kill every process of the user, where it is a part's alone; nothing happens where it is somebody's.

    The kernel does it in one step (kill(2), pid -1): nobody can fork faster.
    """
    if is_separate(identity) and identity.uid != os.geteuid():
        run_as(identity, ["/bin/sh", "-c", "kill -9 -1"], _DEADLINE)
