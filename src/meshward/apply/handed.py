"""Whether a hop can read what it was handed, as it was handed: whose it is, its mode, the directories on its way.

A hop that keeps what it once read does not say that it could not read it again; its successor would.
"""

from __future__ import annotations

import stat
from pathlib import Path


def why_not_as_handed(file: Path, top: Path, reader: int) -> str:
    """What keeps the uid `reader` from `file`, or others not from it, in a sentence; empty: nothing.

    Our own word is no proof: root reads what nobody may. `top`: a directory of ours, above `file`. Raises OSError.
    """
    on_the_way = [each for each in reversed(file.parents) if each == top or top in each.parents]
    return next(filter(None, (*(_passes(each, reader) for each in on_the_way), _reads(file, reader))), "")


def _passes(directory: Path, reader: int) -> str:
    about = directory.lstat()
    wanted = stat.S_IXUSR if reader == about.st_uid else stat.S_IXGRP | stat.S_IXOTH
    if not stat.S_ISDIR(about.st_mode) or not about.st_mode & wanted:
        return f"uid {reader} may not pass `{directory}` ({stat.filemode(about.st_mode)})"
    return ""


def _reads(file: Path, reader: int) -> str:
    about, directory = file.lstat(), file.parent.lstat()
    shown = f"`{file}` ({stat.filemode(about.st_mode)}, uid {about.st_uid}, gid {about.st_gid})"
    if not stat.S_ISREG(about.st_mode) or about.st_uid != directory.st_uid:
        return f"{shown} is not the file that was written"
    by_group = about.st_gid == directory.st_gid and about.st_mode & stat.S_IRGRP
    if not (about.st_mode & stat.S_IRUSR if reader == about.st_uid else by_group):
        return f"uid {reader} may not read {shown}"
    if about.st_mode & (stat.S_IWGRP | stat.S_IRWXO):
        return f"others may use {shown}"
    return ""
