"""All that we, who may be root, do in directories that other users own.

Whoever owns a directory decides, between two looks of ours, what each name in it is: a link to a directory of ours, a
second name of somebody's file, a pipe that nobody ever writes to. So nothing is done there by path:

1. The directory is opened once, never through a link; its parent is ours, so the path leads where we made it.
2. A file is opened without following a link and without waiting. It counts if it is a regular file, with one name, and
   its directory's owner's: then nobody but them loses by what we do with it.
3. Owner, group and mode change by descriptor. What is removed is a name inside of an opened directory.

`tests/docs/test_foreign.py` holds that nothing else touches a file there. What a hop is *given* needs none of this: it
lies in a directory of ours (`runtime.place.directories.Run.given`).
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import structlog

from meshward.kit.text import quoted

MOST_NAMES = 256
"""In a hop's own directory. None makes more than a dozen; who makes a million must not cost us a million."""
ROOM = 1 << 30
"""Bytes that a hop's own directory may take of the disk however little is left there; above, no more than is left."""
LOGS = ("access.log", "changes.log")
MOST_LOGS = 64
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_LOG = 0o600
_FILE = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_KINDS = {
    stat.S_IFLNK: "a link",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFDIR: "a directory",
    stat.S_IFREG: "a file",
}

log = structlog.get_logger(__name__)


class NotAsMade(OSError):
    """What was found where another user decides is not what belongs there. `why`: the end of a sentence."""

    def __init__(self, why: str) -> None:
        super().__init__(errno.EPERM, why)
        self.why = why


@dataclass(frozen=True, slots=True)
class Holder:
    """Whose a directory is to be, and who may pass it."""

    uid: int
    gid: int
    mode: int = 0o700


def ours() -> Holder:
    """Nobody else's."""
    return Holder(os.geteuid(), os.getegid())


@contextmanager
def opened(path: Path) -> Iterator[int]:
    """A descriptor of the directory `path`, whose parent is ours. Raises FileNotFoundError, NotAsMade, OSError."""
    descriptor = _open_directory(path)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def owner_of(path: Path) -> int:
    """The uid whose directory `path` is, whose parent is ours; our own where that cannot be known."""
    with suppress(OSError), opened(path) as descriptor:
        return os.fstat(descriptor).st_uid
    return os.geteuid()


def make_own(path: Path, holder: Holder) -> list[str]:
    """Have `path`, whose parent is ours, be a directory of `holder` that holds logs alone, which are theirs as well.

    To be called while nothing of `holder` runs. Whatever is wrong there is mended, and returned in sentences: another
    kind of thing, or anything but a plain log of the owner's among the logs. Raises OSError.

    While it is looked through it is ours: who still runs can add nothing to it.
    """
    with opened(path.parent) as parent:
        odd = _make_directory(parent, path.name)
    with opened(path) as descriptor:
        logs = (os.fstat(descriptor).st_uid, holder.uid, os.geteuid())
        _own(descriptor, ours())
        odd += _keep_logs(descriptor, logs)
        for name in _names(descriptor):
            _hand_over(descriptor, name, logs, holder)
        _own(descriptor, holder)
    if odd:
        log.warning("own_directory_mended", directory=str(path), found=odd)
    return odd


def hand_to(path: Path, holder: Holder) -> None:
    """Have `path`, whose parent is ours, be a directory of `holder`, who may run. Raises OSError.

    What is in it stays, unless it was somebody else's: then it is made anew.
    """
    with opened(path.parent) as parent:
        _make_directory(parent, path.name)
    with opened(path) as descriptor:
        mine = os.fstat(descriptor).st_uid in (holder.uid, os.geteuid())
        if mine:
            _own(descriptor, holder)
    if not mine:
        make_own(path, holder)


def take(path: Path, mode: int, gid: int | None = None) -> Path:
    """Have `path`, whose parent is ours, be ours, whoever's it was. What is in it is looked at by itself."""
    with opened(path.parent) as parent:
        _make_directory(parent, path.name)
    with opened(path) as descriptor:
        _own(descriptor, Holder(os.geteuid(), os.getegid() if gid is None else gid, mode))
    return path


def clear(path: Path) -> None:
    """Remove all but plain logs from the directory, where there is one; its owner keeps it. Nothing may run in it."""
    with suppress(FileNotFoundError, NotAsMade), opened(path) as descriptor:
        about = os.fstat(descriptor)
        _own(descriptor, ours())
        _keep_logs(descriptor, (about.st_uid, os.geteuid()))
        _own(descriptor, Holder(about.st_uid, about.st_gid, stat.S_IMODE(about.st_mode)))


def directories_in(path: Path) -> list[Path]:
    """Of a directory of ours; none where there is none."""
    with suppress(FileNotFoundError, NotAsMade), opened(path) as descriptor:
        found = [(name, look(descriptor, name)) for name in _names(descriptor)]
        return [path / name for name, about in found if about and stat.S_ISDIR(about.st_mode)]
    return []


def close_to_others(path: Path) -> None:
    """Take the directory from its owner: nobody passes it any more. Nothing happens if there is none."""
    with suppress(FileNotFoundError), opened(path) as descriptor:
        _own(descriptor, ours())


def faults_in(path: Path, uid: int, sockets: Collection[str]) -> list[str]:
    """What keeps `path` from being a directory of `uid` with plain logs and `sockets` alone, in sentences."""
    try:
        with opened(path) as descriptor:
            owner = os.fstat(descriptor).st_uid
            if owner == os.geteuid() != uid:
                return []  # we are at it ourselves: `make_own`
            if owner != uid:
                return [f"it belongs to uid {owner}, not to uid {uid}"]
            names = _names(descriptor)
            return [*_faults(descriptor, names, sockets), *_fills_disk(descriptor, names)]
    except FileNotFoundError:
        return ["it is gone"]
    except NotAsMade as fault:
        return [fault.why]


def make_room(path: Path) -> None:
    """Empty its logs, where they fill the disk. Nothing of its owner's may run."""
    with suppress(FileNotFoundError, NotAsMade), opened(path) as directory:
        names = _names(directory)
        if not _fills_disk(directory, names):
            return
        for name in filter(is_log, names):
            with suppress(FileNotFoundError, NotAsMade):
                _empty(directory, name)


def open_file(directory: int, name: str, *, write: bool = False, owners: Collection[int] = ()) -> int:
    """A descriptor of the regular file `name`, of one name, that is the directory's owner's (or one of `owners`').

    Raises FileNotFoundError, PermissionError, NotAsMade.
    """
    try:
        descriptor = os.open(name, (os.O_RDWR if write else os.O_RDONLY) | _FILE, dir_fd=directory)
    except OSError as error:
        if why := fault_of(directory, name):
            raise NotAsMade(why) from None
        raise error
    if why := _fault(os.fstat(descriptor), owners or (os.fstat(directory).st_uid,)):
        os.close(descriptor)
        raise NotAsMade(why)
    return descriptor


def logs_in(directory: int, name: str) -> list[tuple[str, int]]:
    """The log `name` and what it was rotated to, with their inodes; the log itself last.

    Raises NotAsMade where there are more than `MOST_LOGS`.
    """
    found = _logs_among(_names(directory), name)
    looked = [(each, about) for each in found if (about := look(directory, each))]
    return sorted(((each, about.st_ino) for each, about in looked), key=lambda each: (each[0] == name, each))


def _logs_among(names: Sequence[str], log: str) -> list[str]:
    found = [each for each in names if each == log or each.startswith(f"{log}.")]
    if len(found) > MOST_LOGS:
        raise NotAsMade(f"it was rotated to more than {MOST_LOGS} files")
    return found


def look(directory: int, name: str) -> os.stat_result | None:
    """At the name itself; None where there is none."""
    try:
        return os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return None


def fault_of(directory: int, name: str, kind: int = stat.S_IFREG) -> str:
    """What keeps `name` from being a file (or another `kind`) of the directory's owner; empty: nothing, or no such."""
    found = look(directory, name)
    return _fault(found, (os.fstat(directory).st_uid,), kind) if found else ""


def remove(directory: int, name: str) -> None:
    """Whatever `name` is, and all below it; nothing happens if it is not there. Raises OSError.

    However deep, it takes two descriptors: directories inside of directories are brought up first.
    """
    if _unlink(directory, name):
        return
    top = _open_directory(name, directory)
    try:
        _own(top, ours())
        while inner := _unlink_files(top):
            _flatten(top, inner)
    finally:
        os.close(top)
    os.rmdir(name, dir_fd=directory)


def remove_tree(path: Path) -> None:
    """`remove`, of a path whose parent is ours."""
    with suppress(FileNotFoundError), opened(path.parent) as parent:
        remove(parent, path.name)


def is_log(name: str) -> bool:
    """Whether a hop writes it, or wrote it before it was rotated."""
    return name.startswith(tuple(f"{log}." for log in LOGS)) or name in LOGS


def _make_directory(parent: int, name: str) -> list[str]:
    found, odd = look(parent, name), list[str]()
    if found is not None and not stat.S_ISDIR(found.st_mode):
        odd = [f"`{name}`: it was {_kind(found)}"]
        remove(parent, name)
    with suppress(FileExistsError):
        os.mkdir(name, 0o700, dir_fd=parent)
    return odd


def _own(descriptor: int, holder: Holder) -> None:
    _close_lists(descriptor)
    os.fchown(descriptor, holder.uid, holder.gid)
    os.fchmod(descriptor, holder.mode)


def _close_lists(descriptor: int) -> None:
    """What it lets others do beside its mode (acl(5)): who had it before may have let in whom they like."""
    for name in ("system.posix_acl_access", "system.posix_acl_default"):
        with suppress(OSError):  # there is none, or the file system knows none
            os.removexattr(descriptor, name)


def _keep_logs(directory: int, owners: Collection[int]) -> list[str]:
    """Remove all but plain logs of `owners`. What a killed process leaves, sockets and temporary files, is not odd."""
    odd, gone = list[str](), True
    while gone:  # a name that is removed while names are read may hide another
        kept, gone = 0, False
        with os.scandir(directory) as entries:
            for entry in entries:
                why = _fault_of_log(directory, entry.name, owners, kept) if is_log(entry.name) else "no log"
                if not why:
                    kept += 1
                    continue
                gone = True
                remove(directory, entry.name)
                if is_log(entry.name) and len(odd) < MOST_LOGS:
                    odd.append(f"{quoted(entry.name)}: {why}")
    return odd


def _fault_of_log(directory: int, name: str, owners: Collection[int], kept: int) -> str:
    found = look(directory, name)
    if found is None:
        return "it is gone"
    return _fault(found, owners) or ("" if kept < MOST_LOGS or name in LOGS else "it is one log too many")


def _hand_over(directory: int, name: str, owners: Collection[int], holder: Holder) -> None:
    descriptor = open_file(directory, name, owners=owners)
    try:
        _close_lists(descriptor)
        os.fchown(descriptor, holder.uid, holder.gid)
        os.fchmod(descriptor, _LOG)
    finally:
        os.close(descriptor)


def _faults(directory: int, names: Sequence[str], sockets: Collection[str]) -> list[str]:
    for log in LOGS:
        _logs_among(names, log)  # raises NotAsMade where they are too many to follow
    return [
        f"{quoted(name)}: {why}"
        for name in names
        if (why := _fault_of_name(directory, name, name in sockets))
    ]


def _fills_disk(directory: int, names: Sequence[str]) -> list[str]:
    """In a sentence, if so. What a file has on the disk counts, and not how far it reaches: read lines are erased."""
    looked = [look(directory, name) for name in names]
    taken = sum(about.st_blocks * 512 for about in looked if about)
    disk = os.fstatvfs(directory)
    left = disk.f_bavail * disk.f_frsize
    if taken <= max(ROOM, left):
        return []
    return [f"it takes {taken >> 20} MB of a disk that has {left >> 20} MB left"]


def _empty(directory: int, name: str) -> None:
    """Whoever of us gave the directory to whom: the file is the owner's of before."""
    found = look(directory, name)
    descriptor = open_file(directory, name, write=True, owners=(found.st_uid,) if found else ())
    try:
        os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def _fault_of_name(directory: int, name: str, is_socket: bool) -> str:
    if not is_socket and not is_log(name):
        return "nothing of that name belongs there" if look(directory, name) else ""
    if is_socket:
        return fault_of(directory, name, stat.S_IFSOCK)
    return fault_of(directory, name) or _fault_of_opening(directory, name)


def _fault_of_opening(directory: int, name: str) -> str:
    """What its owner may do so that nobody else opens it: a lease on it (fcntl(2)), or running it as a program."""
    try:
        os.close(open_file(directory, name, write=True))
    except NotAsMade as fault:
        return fault.why
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.ETXTBSY):
            return f"it is kept from being opened ({errno.errorcode[error.errno]})"
    return ""


def _names(directory: int) -> list[str]:
    found: list[str] = []
    with os.scandir(directory) as entries:
        for entry in entries:
            if len(found) == MOST_NAMES:
                raise NotAsMade(f"it holds more than {MOST_NAMES} names")
            found.append(entry.name)
    return sorted(found)


def _open_directory(path: str | Path, within: int | None = None) -> int:
    """A link counts as none: O_DIRECTORY with O_NOFOLLOW says ENOTDIR of it."""
    try:
        return os.open(path, _DIRECTORY, dir_fd=within)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise NotAsMade(f"`{path}` is no directory") from None
        raise


def _fault(about: os.stat_result, owners: Collection[int], kind: int = stat.S_IFREG) -> str:
    if stat.S_IFMT(about.st_mode) != kind:
        return f"it is {_kind(about)}"
    if about.st_nlink > 1:
        return "it has a second name"
    return "" if about.st_uid in owners else f"it belongs to uid {about.st_uid}"


def _kind(about: os.stat_result) -> str:
    return _KINDS.get(stat.S_IFMT(about.st_mode), "a device")


def _unlink(directory: int, name: str) -> bool:
    """Whether it is gone; a directory stays."""
    try:
        os.unlink(name, dir_fd=directory)
    except FileNotFoundError:
        return True
    except (IsADirectoryError, PermissionError):
        found = look(directory, name)
        if found is not None and not stat.S_ISDIR(found.st_mode):
            raise
        return found is None
    return True


def _unlink_files(directory: int) -> list[str]:
    """Remove what is no directory; returns directories, some of many, or none."""
    inner, gone = list[str](), True
    while gone and not inner:
        gone = False
        with os.scandir(directory) as entries:
            for entry in entries:
                if _unlink(directory, entry.name):
                    gone = True
                elif len(inner) < MOST_NAMES:
                    inner.append(entry.name)
    return inner


def _flatten(top: int, names: Collection[str]) -> None:
    """Remove the directories `names`; those inside of them become `top`'s."""
    for name in names:
        descriptor = _open_directory(name, top)
        try:
            _own(descriptor, ours())
            while inner := _unlink_files(descriptor):
                for each in inner:
                    os.rename(each, secrets.token_hex(12), src_dir_fd=descriptor, dst_dir_fd=top)
        finally:
            os.close(descriptor)
        os.rmdir(name, dir_fd=top)
