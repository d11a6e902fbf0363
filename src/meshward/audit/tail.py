"""Follow one access log through rotation, truncation and crashes, and erase what has been read.

Files are told apart by inode, whatever their name: the log itself and what it was rotated to
(`access.log.1`, …). Reading never moves a position by itself: `read` says what is new and how far that goes,
the caller stores both in one transaction, and only then `advance` remembers it and erases the bytes
(`fallocate(2)`, punch hole). Erased bytes read as zeros; the offsets of those behind them stay.

A guard's directory belongs to the guard's uid: what lies there is opened by `kit.foreign`, so that a guard cannot have
another file read or erased.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from meshward.audit.lines import MAX_LINE
from meshward.kit import codes
from meshward.kit.errors import MeshwardError
from meshward.kit.foreign import NotAsMade, logs_in, look, open_file, opened

TRUNCATED, REPLACED, GONE = "log_truncated", "log_replaced", "log_gone"
REMOVED, ERASED_UNREAD = "log_removed", "log_erased_unread"
READ = 2 << 20
"""Bytes read from one file at once: what 5,000 requests a second leave between two looks. Where it is less, the guard's
lines reach further than the edge's, and those that go beyond are read again; the same pages are written more often."""
_OVERLONG = 2 * MAX_LINE
_WINDOW = 1024  # bytes before a position that prove it still belongs to the same file
_QUIET = 30.0  # seconds without growth after which a deleted file is let go
_PACKED = frozenset({".gz", ".xz", ".zst", ".bz2"})
_TOLD = -1
_KEEP_SIZE, _PUNCH_HOLE = 1, 2
_REFUSED = frozenset({errno.EOPNOTSUPP, errno.ENOSYS, errno.EPERM, errno.EINVAL, errno.EACCES, errno.EBADF})

_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)


@dataclass(frozen=True, slots=True)
class Position:
    """How far a file has been read. `mark`: SHA-256 of the bytes before `offset`, to know it again."""

    source: str
    inode: int
    offset: int
    mark: str


@dataclass(frozen=True, slots=True)
class Chunk:
    """New whole lines, and the position behind them. `gap` says why lines before these may be lost.

    `before`: what proves the position in front of them.
    """

    lines: tuple[bytes, ...]
    position: Position
    more: bool = False
    gap: str | None = None
    before: bytes = b""

    def first(self, count: int) -> Chunk:
        """Its first `count` lines, of more."""
        taken = b"".join([line + b"\n" for line in self.lines[:count]])
        left = len(b"\n".join(self.lines[count:]))
        mark = _mark((self.before + taken)[-_WINDOW:])
        position = replace(self.position, offset=self.position.offset - left, mark=mark)
        return replace(self, lines=self.lines[:count], position=position)


class LogUnreadable(MeshwardError):
    """A log that is there and may not or must not be read (MW4006)."""

    def __init__(self, source: str, why: str) -> None:
        remedy = "it must be a regular file with one name, which the collector may read"
        super().__init__(codes.LOG_UNREADABLE, f"cannot read `{source}`: {why}", remedy)
        self.source = source


class Tail:
    """One file of a log, held open."""

    def __init__(
        self, source: str, path: Path, known: Mapping[int, Position], done: Collection[int] = ()
    ) -> None:
        """Go on at the known position of this inode, or else at the first byte that is not erased.

        `done`: inodes of files that were read to their end and may be removed; what has their number now is another.
        Raises LogUnreadable, FileNotFoundError.
        """
        self._fd, self.erasable = _open(source, path)
        self.source = source
        self.gap: str | None = None
        self.grew_at = time.monotonic()
        self._barren: tuple[int, int] | None = None  # size and mtime at which there was nothing to read
        self._erased = 0
        self._size_without_name: int | None = None
        inode = os.fstat(self._fd).st_ino
        position = known.get(inode)
        if (
            position is not None
            and inode in done
            and not (self._reaches(position) and self._continues(position))
        ):
            position = None
        if position is not None and not self._continues(position):
            position, self.gap = None, REPLACED  # the inode was given to another file
        self.position = position or Position(source, inode, self._first_data(), "")
        self._erase()

    @property
    def lag(self) -> int:
        """Bytes behind the position."""
        return max(0, os.fstat(self._fd).st_size - self.position.offset)

    @property
    def deleted(self) -> bool:
        return os.fstat(self._fd).st_nlink == 0

    def orphaned(self) -> bool:
        """Whether it is written although it has no name any more: a collector that starts cannot find it. Told once."""
        state = os.fstat(self._fd)
        if state.st_nlink or self._size_without_name == _TOLD:
            return False
        if self._size_without_name in (None, state.st_size):
            self._size_without_name = state.st_size
            return False
        self._size_without_name = _TOLD
        return True

    def read(self, limit: int = READ, *, final: bool = False) -> Chunk | None:
        """Whole lines behind the position; None: none. `final` takes a line without an end too."""
        state = os.fstat(self._fd)
        size, seen = state.st_size, (state.st_size, state.st_mtime_ns)
        if seen == self._barren and not final:
            return None
        if (after := self._after_hole(size)) - self.position.offset > limit:
            gap = ERASED_UNREAD if self.position.mark else None
            return Chunk((), replace(self.position, offset=after, mark=_mark(b"")), True, gap)
        start = max(0, self.position.offset - _WINDOW)
        data = os.pread(self._fd, self.position.offset - start + limit, start)
        before = self.position.offset - start
        if size < self.position.offset or not _is_same(data[:before], self.position.mark):
            return Chunk((), Position(self.source, self.position.inode, 0, ""), True, TRUNCATED)
        end = _end_of_lines(data, before, final)
        if end == before:
            self._barren = seen
            return None
        position = Position(
            self.source, self.position.inode, start + end, _mark(data[max(0, end - _WINDOW) : end])
        )
        lines = tuple(data[before:end].split(b"\n"))
        # Nobody but us erases: what is erased here was read by a store that knew more than ours does.
        gap = ERASED_UNREAD if self.position.mark and data[before : before + 1] == b"\0" else None
        return Chunk(lines, position, more=len(data) - before == limit, gap=gap, before=data[:before])

    def advance(self, position: Position) -> None:
        """What lies before `position` is durable elsewhere: remember that, and erase it here."""
        if position.offset < self.position.offset:
            self._erased = 0
        self.position = position
        self.grew_at = time.monotonic()
        self._erase()

    def close(self) -> None:
        os.close(self._fd)

    def _reaches(self, known: Position) -> bool:
        return os.fstat(self._fd).st_size >= known.offset

    def _continues(self, known: Position) -> bool:
        if not self._reaches(known):
            return True  # truncated while nobody read: `read` says so
        start = max(0, known.offset - _WINDOW)
        return _is_same(os.pread(self._fd, known.offset - start, start), known.mark)

    def _first_data(self) -> int:
        try:
            return os.lseek(self._fd, 0, os.SEEK_DATA)
        except OSError:  # empty, or nothing but a hole
            return 0

    def _after_hole(self, size: int) -> int:
        """Where there is something to read: a file may claim more than anybody could read in years."""
        try:
            return os.lseek(self._fd, self.position.offset, os.SEEK_DATA)
        except OSError as error:  # nothing but a hole, or a file system that knows none
            return size if error.errno == errno.ENXIO else self.position.offset

    def _erase(self) -> None:
        length = self.position.offset - self._erased
        if not self.erasable or length <= 0:
            return
        try:
            punch(self._fd, self._erased, length)
            self._erased = self.position.offset
        except OSError as error:
            self.erasable = error.errno not in _REFUSED


class Log:
    """All files of one access log: the one at `path` and those it was renamed to."""

    def __init__(
        self, source: str, path: Path, known: Mapping[int, Position], done: Collection[int] = ()
    ) -> None:
        """`known`: positions by inode, from the store; `done`: those of them that were read to the end."""
        self.source = source
        self.path = path
        self.tails: dict[int, Tail] = {}
        self._known = dict(known)
        self._done = done

    def discover(self) -> tuple[list[str], list[LogUnreadable]]:
        """Open what is new. Returns why lines may be lost, and what cannot be read."""
        gaps: list[str] = []
        refused: list[LogUnreadable] = []
        try:
            found = self._new_files()
        except LogUnreadable as error:
            return [], [error]
        for path in found:
            try:
                tail = Tail(self.source, path, self._known, self._done)
            except FileNotFoundError:
                continue  # renamed a moment ago: found under its new name the next time
            except LogUnreadable as error:
                refused.append(error)
                continue
            self._known.pop(tail.position.inode, None)
            self.tails[tail.position.inode] = tail
            gaps += [tail.gap] if tail.gap else []
        gaps += [REMOVED for tail in self.tails.values() if tail.orphaned()]
        return gaps, refused

    def lost(self) -> list[Position]:
        """Known positions whose files are gone. To be asked once, after the first `discover`."""
        gone, self._known = list(self._known.values()), {}
        return gone

    def released(self) -> list[Tail]:
        """Deleted files whose writer has moved on: at most a line without an end is left in them."""
        quiet_since = time.monotonic() - _QUIET
        ended = [tail for tail in self.tails.values() if tail.grew_at < quiet_since and tail.deleted]
        if not ended or not self._moved_on():
            return []
        return [tail for tail in ended if tail.lag <= _OVERLONG]

    def forget(self, tail: Tail) -> None:
        self.tails.pop(tail.position.inode).close()

    def _moved_on(self) -> bool:
        """Whether there is another log, or no place for one. An empty one may be anybody's."""
        try:
            with opened(self.path.parent) as directory:
                found = look(directory, self.path.name)
                return found is not None and found.st_size > 0
        except FileNotFoundError:
            return True
        except OSError:
            return False

    def _new_files(self) -> list[Path]:
        """Files of this log that are not open yet, the current one last. Raises LogUnreadable."""
        try:
            with opened(self.path.parent) as directory:
                found = logs_in(directory, self.path.name)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise _unreadable_error(self.source, error) from None
        files = [(self.path.with_name(name), inode) for name, inode in found]
        return [path for path, inode in files if inode not in self.tails and path.suffix not in _PACKED]


def punch(fd: int, offset: int, length: int, fallocate: Callable[..., int] = _libc.fallocate) -> None:
    """Give `length` bytes at `offset` back to the file system; they read as zeros. Raises OSError."""
    if fallocate(fd, _PUNCH_HOLE | _KEEP_SIZE, offset, length) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def _open(source: str, path: Path) -> tuple[int, bool]:
    """A descriptor, and whether it may write. Raises LogUnreadable, FileNotFoundError."""
    try:
        with opened(path.parent) as directory:
            try:
                return open_file(directory, path.name, write=True), True
            except PermissionError:
                return open_file(directory, path.name), False
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _unreadable_error(source, error) from error


def _unreadable_error(source: str, error: OSError) -> LogUnreadable:
    return LogUnreadable(source, error.why if isinstance(error, NotAsMade) else str(error.strerror))


def _end_of_lines(data: bytes, before: int, final: bool) -> int:
    """Where the last whole line ends; the end of the data if what is there cannot become a line any more."""
    end = data.rfind(b"\n", before) + 1
    if end == 0:
        return len(data) if final or len(data) - before > _OVERLONG else before
    return end if not final else len(data)


def _mark(window: bytes) -> str:
    return hashlib.sha256(window).hexdigest()


def _is_same(window: bytes, mark: str) -> bool:
    return not window.strip(b"\0") or _mark(window) == mark
