"""A directory of rendered files: all of them ours, each whole, and nothing else in it.

    RENDERED          a line `<sha256>  <path>` for each file, as `sha256sum --check` reads it
    <path>            0644; directories 0755

A write stops at any step and the next one completes it: first the list names all that was there and all that will be,
then what is no longer rendered goes, then each file is replaced by a rename, then the list is what is there. A file
that a machine lost with its power has another digest, and is written anew. Two writes at once are one after the other:
the directory itself is locked.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from meshward.kit import codes
from meshward.kit.durable import open_regular, write_atomic
from meshward.kit.errors import MeshwardError

LIST = "RENDERED"
_FILE, _DIRECTORY = 0o644, 0o755
_MOST_LIST = 64 << 20  # bytes
_UNKNOWN = "0" * 64


@dataclass(frozen=True, slots=True)
class Written:
    """By path below the directory: what was written, what stands as it was, what was taken away."""

    changed: tuple[str, ...]
    same: tuple[str, ...]
    removed: tuple[str, ...]


def write_rendered(directory: Path, files: Mapping[str, bytes]) -> Written:
    """Make `directory` hold exactly `files`, by path. Raises MeshwardError where it holds what is not ours, OSError."""
    place = directory.resolve()
    if os.path.lexists(place) and not place.is_dir():
        raise MeshwardError(codes.FOREIGN_FILES, f"`{place}` is no directory")
    _make_directory(place)
    with _locked(place):
        return _write(place, files)


@contextmanager
def _locked(place: Path) -> Iterator[None]:
    descriptor = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _write(place: Path, files: Mapping[str, bytes]) -> Written:
    known = _read_list(place)
    _require_ours(place, frozenset(known))
    wanted = {path: hashlib.sha256(content).hexdigest() for path, content in files.items()}
    same = tuple(path for path in sorted(files) if _digest_of(place / path) == wanted[path])
    removed = tuple(sorted(known.keys() - wanted.keys()))
    changed = tuple(sorted(files.keys() - set(same)))
    if changed or removed or known != wanted:
        _write_list(place, {**known, **wanted})
        for path in removed:
            _remove(place, path)
        for path in changed:
            _make_directory((place / path).parent, place)
            write_atomic(place / path, files[path], _FILE, synced=False)
        _write_list(place, wanted)
    for leftover in _leftovers(place, {*known, *wanted}):
        leftover.unlink(missing_ok=True)
    return Written(changed, same, removed)


def _require_ours(place: Path, ours: frozenset[str]) -> None:
    """Raises MeshwardError (MW5024) where `place` holds what its list does not name, or a link anywhere."""
    foreign = sorted(_strangers(place, ours))
    if foreign:
        more = f", and {len(foreign) - 3} more" if len(foreign) > 3 else ""
        message = (
            f"`{place}` holds {', '.join(f'`{each}`' for each in foreign[:3])}{more}, not rendered by us"
        )
        raise MeshwardError(codes.FOREIGN_FILES, message)


def _strangers(place: Path, ours: frozenset[str]) -> Iterable[str]:
    directories = {str(parent) for path in ours for parent in Path(path).parents}
    for root, below, names in os.walk(place):
        for name in (*below, *names):
            path = Path(root, name)
            inner = str(path.relative_to(place))
            mode = path.lstat().st_mode
            plain = stat.S_ISREG(mode) and (inner in ours or inner == LIST or _is_temporary(inner, ours))
            if not plain and not (stat.S_ISDIR(mode) and inner in directories):
                yield inner


def _leftovers(place: Path, ours: set[str]) -> list[Path]:
    known = frozenset(ours)
    names = (Path(root, name) for root, _, names in os.walk(place) for name in names)
    return [path for path in names if _is_temporary(str(path.relative_to(place)), known)]


def _is_temporary(inner: str, ours: frozenset[str]) -> bool:
    """What a killed write left: `.<name>.<12 hex digits>` beside a file of ours."""
    path = Path(inner)
    name, _, rest = path.name.removeprefix(".").rpartition(".")
    known = str(path.with_name(name)) if name else ""
    return path.name.startswith(".") and len(rest) == 12 and (known in ours or known == LIST)


def _read_list(place: Path) -> dict[str, str]:
    """Digests by path; empty where there is no list. Raises MeshwardError where it is none of ours."""
    try:
        with os.fdopen(open_regular(place / LIST, os.O_RDONLY), "rb") as file:
            content = file.read(_MOST_LIST + 1)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    found: dict[str, str] = {}
    for line in content.decode("utf-8", "replace").splitlines():
        digest, gap, path = line.partition("  ")
        plain = path and not path.startswith("/") and ".." not in path.split("/") and path.isprintable()
        if len(digest) != len(_UNKNOWN) or not gap or not plain or len(content) > _MOST_LIST:
            raise MeshwardError(codes.FOREIGN_FILES, f"`{place / LIST}` is no list of rendered files")
        found[path] = digest
    return found


def _write_list(place: Path, digests: Mapping[str, str]) -> None:
    lines = "".join(f"{digest}  {path}\n" for path, digest in sorted(digests.items()))
    write_atomic(place / LIST, lines, _FILE)


def _digest_of(path: Path) -> str | None:
    with suppress(OSError), os.fdopen(open_regular(path, os.O_RDONLY), "rb") as file:
        if stat.S_IMODE(os.fstat(file.fileno()).st_mode) == _FILE:
            return hashlib.file_digest(file, "sha256").hexdigest()
    return None


def _make_directory(path: Path, below: Path | None = None) -> None:
    """With its parents, as far as they are ours to make."""
    if path.is_dir():
        return
    if below is None or path == below:
        path.parent.mkdir(parents=True, exist_ok=True)
    else:
        _make_directory(path.parent, below)
    path.mkdir(exist_ok=True)
    path.chmod(_DIRECTORY)


def _remove(place: Path, path: str) -> None:
    (place / path).unlink(missing_ok=True)
    for parent in (place / path).parents:
        if parent == place:
            return
        try:
            parent.rmdir()
        except OSError:
            return
