"""A model server that somebody else started: may its guard reach it, and who else can?"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from meshward.kit.errors import Exit, MeshwardError
from meshward.plan.ir import Plan
from meshward.runtime.identities import Identity
from meshward.runtime.process import can_execute_as

_WRITE_ALL = stat.S_IWOTH
_WRITE_GROUP = stat.S_IWGRP


@dataclass(frozen=True, slots=True)
class Door:
    """A unix socket's owner, group and mode: connecting takes the right to write."""

    uid: int
    gid: int
    mode: int


def admitted(plan: Plan, key: str, guard: Identity, ours: bool) -> Identity:
    """The guard's identity, with the group that opens its server's socket.

    Raises MeshwardError (MW3013) where no group could: a guard never borrows a server's uid.
    """
    model, version = key.split("/")
    url = {each.name: each.url for each in plan.models[model].versions}[version]
    if ours or not url.startswith("unix:") or guard.uid == os.geteuid():
        return guard
    path = Path(url.removeprefix("unix:"))
    door = _door(path)
    if door is None:  # it may come later; then its group is not known now
        return guard
    if door.mode & _WRITE_GROUP and door.gid != 0:
        guard = guard.joining(door.gid)
    if can_execute_as(guard, ("/usr/bin/test", "-w", str(path))):
        return guard
    raise MeshwardError(
        "MW3013",
        f"the guard of {key} (uid {guard.uid}, gid {guard.gid}) may not open `{path}`",
        "Let its group write to the socket and pass every directory above it, with a group that is not root's, e.g. "
        f"`chgrp {guard.gid} {path} && chmod 660 {path}`; then start again.",
        exit_code=Exit.UNSAFE,
    )


def reach(url: str, ours: bool) -> str:
    """`socket` where file modes keep others out, else `open`: whoever can connect gets past the guard."""
    if not url.startswith("unix:"):
        return "open"
    if ours:
        return "socket"
    door = _door(Path(url.removeprefix("unix:")))
    return "open" if door is None or door.mode & _WRITE_ALL else "socket"


def _door(path: Path) -> Door | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return Door(found.st_uid, found.st_gid, found.st_mode) if stat.S_ISSOCK(found.st_mode) else None
