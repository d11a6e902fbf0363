"""Reading a policy from disk: a file, or the files of a directory. The only part of parsing that does I/O."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from meshward.kit import codes
from meshward.kit.errors import MeshwardError
from meshward.kit.text import first_unseen, quoted
from meshward.policy.parse import Document, Source, parse
from meshward.policy.site import SiteDocument, parse_site
from meshward.policy.tree import MOST_BYTES

SUFFIXES = (".yaml", ".yml")
MOST_FILES = 1000


def read_policy(path: Path) -> Document:
    """The policy at `path`: a file, or a directory's `*.yaml` and `*.yml` files in the order of their names.

    Files that begin with a dot, and directories inside, are left out.

    Raises PolicyInvalid with every problem in the files, and MeshwardError (MW0001) if they cannot be read.
    """
    try:
        return parse(_sources(path))
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise _unreadable_error(
            Path(error.filename or path), reason, "Check the path and your rights to it."
        ) from None


def read_site(path: Path) -> SiteDocument:
    """The site file at `path`. Raises PolicyInvalid with every problem in it, and as `read_policy`."""
    try:
        return parse_site(_source(path, MOST_BYTES))
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise _unreadable_error(path, reason, "Check the path and your rights to it.") from None


def _sources(path: Path) -> list[Source]:
    if not path.is_dir():
        return [_source(path, MOST_BYTES)]
    files = sorted(
        file for file in path.iterdir() if file.suffix in SUFFIXES and not file.name.startswith(".")
    )
    if not files:
        raise _unreadable_error(path, "it has no `*.yaml` file", "Name a file, or put one there.")
    if len(files) > MOST_FILES:
        raise _unreadable_error(path, f"it has more than {MOST_FILES} files", "Name a smaller directory.")
    sources: list[Source] = []
    left = MOST_BYTES
    for file in files:
        sources.append(_source(file, left))
        left -= len(sources[-1].data)
    return sources


def _source(path: Path, most: int) -> Source:
    """Reads at most one byte more than `most`, which is how `parse` sees that there is too much."""
    if first_unseen(str(path)) is not None:
        raise _unreadable_error(path, "its name has an invisible character", "Rename it.")
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a FIFO must not make us wait
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise _unreadable_error(
                path, "it is not a regular file", "Name a file, or of a policy a directory."
            )
        return Source(str(path), file.read(max(most, 0) + 1))


def _unreadable_error(path: Path, reason: str, remedy: str) -> MeshwardError:
    message = f"{quoted(str(path), 4096)} cannot be read: {reason}"
    return MeshwardError(codes.POLICY_UNREADABLE, message, remedy)
