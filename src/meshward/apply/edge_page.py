"""RUN/given/edge/page: nginx has it mapped, and the next request sees a change (`targets/nginx/lua/page.lua`).

Two numbers, 64 bits each, the low byte first: the epoch, which counts everything that ends remembered decisions, and
the generation of the edge's certificates. An epoch of 0 says that nobody knows: nginx then refuses.
"""

from __future__ import annotations

import errno
import mmap
import os
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

SIZE = 4096  # bytes
_EPOCH, _GENERATION = 0, 1  # which of the words
_WORD = struct.Struct("<Q")


@dataclass(frozen=True, slots=True)
class EdgePage:
    """The page at `path`, changed in place: whoever has it mapped sees it. Every method raises OSError."""

    path: Path

    @classmethod
    def in_directory(cls, edge: Path) -> EdgePage:
        return cls(edge / "page")

    @property
    def epoch(self) -> int:
        with self._words() as words:
            return words[_EPOCH]

    @property
    def generation(self) -> int:
        with self._words() as words:
            return words[_GENERATION]

    def raise_epoch(self) -> int:
        """End every remembered decision; returns the new epoch."""
        with self._words() as words:
            words[_EPOCH] += 1
            return words[_EPOCH]

    def show(self, generation: int) -> None:
        """Have the certificates of `generation` shown from the next handshake on."""
        with self._words() as words:
            words[_GENERATION] = generation

    def close(self) -> None:
        """Before another page takes its place: whoever still has this one mapped refuses, or looks for the other.

        What is no page of ours is left as it is.
        """
        with suppress(OSError), self._words() as words:
            words[_EPOCH] = 0

    @contextmanager
    def _words(self) -> Iterator[memoryview]:
        """The page as numbers. Each is stored as a whole: nobody reads half of one."""
        with (
            open(self.path, "r+b", opener=_ours) as file,
            mmap.mmap(file.fileno(), SIZE) as page,
            memoryview(page) as view,
            view.cast("Q") as words,
        ):
            yield words


def _ours(path: str, flags: int) -> int:
    """Opens only a page that we wrote: nginx owns the directory, and could put a link to another file there, which we,
    who may be root, would then write into; or a file that it cuts while we have it mapped, which kills us.
    """
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)
    about = os.fstat(descriptor)
    regular = stat.S_ISREG(about.st_mode) and about.st_nlink == 1 and about.st_size == SIZE
    if not regular or about.st_uid != os.geteuid():
        os.close(descriptor)
        raise OSError(errno.EPERM, "not a page that meshward wrote", path)
    return descriptor


def page_bytes(epoch: int, generation: int) -> bytes:
    """A whole page."""
    return (_WORD.pack(epoch) + _WORD.pack(generation)).ljust(SIZE, b"\0")
