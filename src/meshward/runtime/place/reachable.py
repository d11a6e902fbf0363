"""Whether the user that a part gets may run what the part is made of. Tried as that user, not computed from modes."""

from __future__ import annotations

import os
import stat
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

import meshward
from meshward.runtime.place.identities import (
    FIRST,
    ProcessIdentity,
    can_change_uid,
    can_execute_as,
    starter,
)
from meshward.runtime.place.seal import NAMESPACES

_MOST_LINKS = 40  # as many as the kernel follows


def hindrance(identity: ProcessIdentity, modules: Sequence[str], programs: Sequence[Path] = ()) -> str:
    """What keeps `identity` from running `modules` with this Python, or one of `programs`; empty: nothing.

    Modules are really imported, with all that they import; of what is closed the first directory is named.
    """
    python = (sys.executable, "-c", "; ".join(f"import {module}" for module in modules))
    runs = all(can_execute_as(identity, ("/usr/bin/test", "-x", str(program))) for program in programs)
    if runs and can_execute_as(identity, python):
        return ""
    for needed in (Path(sys.executable), *_libraries(), *programs):
        closed = first_closed(identity, needed)
        if closed is not None:
            return f"other users may not pass `{closed}` ({_described(closed)})"
    return f"`{sys.executable}` does not import {', '.join(modules)} as another user"


def can_seal() -> bool:
    """Whether a part, as the user that it would be, may make the namespaces that seal it. Not every machine lets it."""
    identity = ProcessIdentity(FIRST, FIRST) if can_change_uid() else starter()
    return can_execute_as(identity, (*NAMESPACES, "true"))


def first_closed(identity: ProcessIdentity, path: Path) -> Path | None:
    """The first directory or file on the way to `path`, its links included, that `identity` may not pass or read."""
    for each in _way_to(path):
        wanted = "-x" if each.is_dir() else "-r"
        if not can_execute_as(identity, ("/usr/bin/test", wanted, str(each))):
            return each
    return None


def _libraries() -> list[Path]:
    places = (sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"), sysconfig.get_path("purelib"))
    return [Path(os.__file__), *(Path(place) for place in places), Path(meshward.__file__)]


def _way_to(path: Path) -> list[Path]:
    """Every directory and file that is met when `path` is opened, from `/` on."""
    links = [path]
    while (last := links[-1]).is_symlink() and len(links) < _MOST_LINKS:
        links.append(last.parent / last.readlink())
    links.append(path.resolve())
    met = [each for link in links for each in (*reversed(link.parents), link) if not each.is_symlink()]
    return list(dict.fromkeys(met))


def _described(path: Path) -> str:
    found = path.stat()
    return f"mode {stat.S_IMODE(found.st_mode):04o}, of uid {found.st_uid}"
