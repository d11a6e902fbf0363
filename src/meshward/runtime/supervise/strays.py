"""Whatever runs as a part's own user, also what has left the part's process group."""

from __future__ import annotations

import os
import subprocess

from meshward.runtime.place.identities import CLEAN_ENVIRONMENT, ProcessIdentity, is_separate, popen_user

_DEADLINE = 5.0  # seconds


def end_all_of(identity: ProcessIdentity) -> None:
    """Kill every process of the user, where it is a part's alone; nothing happens where it is somebody's.

    The kernel does it in one step (kill(2), pid -1): nobody can fork faster.
    """
    if not is_separate(identity) or identity.uid == os.geteuid():
        return
    subprocess.run(
        ["/bin/sh", "-c", "kill -9 -1"],
        **popen_user(identity),
        cwd="/",
        env=CLEAN_ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=_DEADLINE,
        check=False,
    )
