"""Files that are either the old one or the new one, whole: write beside, fsync, rename, fsync the folder."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def write_atomic(
    path: Path, data: bytes | str, mode: int = 0o600, gid: int | None = None, *, synced: bool = True
) -> None:
    """Replace `path` by `data`. Watchers that look for renames (Envoy, the edge's epoch) see it at once.

    Not `synced` it may be empty after the machine lost its power: for what the next run finds out and makes anew.

    The directory is opened once and never through a link (OSError), and all else happens inside it: whoever may
    rename it meanwhile cannot lead us, who may be root, to another place.
    """
    payload = data.encode() if isinstance(data, str) else data
    temporary = f".{path.name}.{secrets.token_hex(6)}"
    with opened_directory(path.parent) as directory:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode, dir_fd=directory)
        try:
            with os.fdopen(descriptor, "wb") as file:
                os.fchmod(file.fileno(), mode)
                if gid is not None:
                    os.fchown(file.fileno(), -1, gid)
                file.write(payload)
                file.flush()
                if synced:
                    os.fsync(file.fileno())
            os.rename(temporary, path.name, src_dir_fd=directory, dst_dir_fd=directory)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(temporary, dir_fd=directory)
            raise
        if synced:
            os.fsync(directory)


def open_regular(path: Path, flags: int) -> int:
    """A descriptor of a regular file, 0600 where it is made: never through a link, and never what one would wait for.

    Raises OSError.
    """
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise OSError(errno.EINVAL, "it is no regular file", str(path))


@contextmanager
def opened_directory(path: Path) -> Iterator[int]:
    """A descriptor of the directory `path`. Raises OSError where its last component is a link."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def private_directory(path: Path, mode: int = 0o700) -> Path:
    """Create `path` (and its parents) with exactly `mode`; an existing one is tightened to it, unless it is a link."""
    path.mkdir(parents=True, exist_ok=True)
    with opened_directory(path) as directory:
        os.fchmod(directory, mode)
    return path
