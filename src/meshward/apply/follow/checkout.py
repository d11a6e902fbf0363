"""A policy in a git checkout, as it is committed: read from git's objects, never from the working tree.

Nothing that the checkout holds is run: no hooks, no filters, no text conversion, no pager, no signature program; only
`rev-parse`, `ls-tree` and `cat-file` are called, in an environment of our own, and no transport is allowed, for a
partial clone would fetch what it lacks by a command of its configuration. A checkout of another user is refused.
"""

from __future__ import annotations

import os
import re
import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path

from meshward.apply.sources import MOST_FILES, SUFFIXES
from meshward.kit import codes
from meshward.kit.errors import MeshwardError
from meshward.kit.text import quoted
from meshward.policy.parse import Source
from meshward.policy.tree import MOST_BYTES

_TIMEOUT = 5.0  # seconds for one call of git
_MOST_LISTED = 1024 * 1024  # bytes of a listing
_MOST_COMMIT = 64 * 1024  # bytes of a commit that are read: its author and subject stand at its beginning
_ID = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?", re.ASCII)
_ENTRY = re.compile(r"(?P<mode>[0-9]{6}) (?P<kind>[a-z]+) (?P<id>[0-9a-f]+) +(?P<size>[0-9]+|-)", re.ASCII)
_AUTHOR = re.compile(r"author (?P<name>.*?) <[^>]*> [0-9]+ [+-][0-9]{4}")
_LINK = "120000"
_ENVIRONMENT = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "HOME": "/nonexistent",
    "LC_ALL": "C",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_ALLOW_PROTOCOL": "none",  # a list of names; no transport has this one
    "GIT_LITERAL_PATHSPECS": "1",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_TERMINAL_PROMPT": "0",
}
_OPTIONS = (
    *("--no-pager", "--no-optional-locks"),
    *("-c", "core.fsmonitor=false", "-c", f"core.hooksPath={os.devnull}"),
)


@dataclass(frozen=True, slots=True)
class Commit:
    """`author` is a claim: anybody can write any name into a commit."""

    id: str
    author: str
    subject: str

    @property
    def sentence(self) -> str:
        return f"commit {self.id[:8]} by {self.author}: {self.subject}"


@dataclass(frozen=True, slots=True)
class _Entry:
    mode: str
    kind: str
    id: str
    size: int
    name: str


@dataclass(frozen=True, slots=True)
class Checkout:
    """The policy at `path`, a file or directory, below `top`, the root of a working tree."""

    path: Path
    top: Path
    inside: str  # `path` as git names it, relative to `top`; empty: `top` itself

    def head(self) -> str:
        """The commit that HEAD leads to. Raises MeshwardError."""
        found = self._git("rev-parse", "--verify", "--quiet", "--end-of-options", "HEAD^{commit}", most=100)
        commit = found.decode("ascii", "replace").strip()
        if not _ID.fullmatch(commit):
            raise _checkout_error(self.path, "HEAD leads to no commit")
        return commit

    def commit(self, commit: str) -> Commit:
        """Who says that they wrote `commit`, and its first line: one line of what a terminal shows as itself."""
        data = self._git("cat-file", "commit", commit, most=_MOST_COMMIT, cut=True)
        head, _, message = data.decode("utf-8", "replace").partition("\n\n")
        author = next((m["name"] for line in head.split("\n") if (m := _AUTHOR.fullmatch(line))), "")
        return Commit(
            commit, _one_line(author, 60) or "nobody", _one_line(message.lstrip().split("\n")[0], 100)
        )

    def sources(self, commit: str) -> list[Source]:
        """The policy's files as `commit` has them, as `sources.read_policy` would take them. Raises MeshwardError."""
        entries = self._entries(commit)
        for entry in entries:
            if entry.mode == _LINK:
                raise _checkout_error(self.path, f"{quoted(entry.name)} is a symbolic link in the commit")
        if not entries:
            raise _checkout_error(self.path, f"commit {commit[:8]} has no policy there")
        if len(entries) > MOST_FILES or sum(entry.size for entry in entries) > MOST_BYTES:
            raise _checkout_error(self.path, f"it is too large: {len(entries)} files")
        return [Source(f"{entry.name}@{commit[:8]}", self._blob(entry)) for entry in entries]

    def holds(self, commit: str) -> bool:
        """Whether `commit` has a policy there."""
        return bool(self._entries(commit))

    def differs(self, commit: str) -> bool:
        """Whether the working tree holds something else than `commit`: edits that are not committed."""
        try:
            committed = {self.top / entry.name: self._blob(entry) for entry in self._entries(commit)}
            place = self.top / self.inside
            if (
                place.is_dir()
                and {each for each in place.iterdir() if _is_policy(each.name)} != committed.keys()
            ):
                return True
            return any(_content(path, len(data)) != data for path, data in committed.items())
        except (OSError, MeshwardError):
            return True

    def _entries(self, commit: str) -> list[_Entry]:
        """Of a file, itself; of a directory, its policy files. Both as the tree of `commit` has them."""
        if self.inside:
            listed = self._list_entries(commit, self.inside)
            if [entry.kind for entry in listed] != ["tree"]:
                return [entry for entry in listed if entry.kind == "blob" and entry.name == self.inside]
        below = self._list_entries(commit, f"{self.inside}/" if self.inside else "")
        files = [entry for entry in below if entry.kind == "blob" and _is_policy(entry.name)]
        return sorted(files, key=lambda entry: entry.name)

    def _list_entries(self, commit: str, place: str) -> list[_Entry]:
        paths = ["--", place] if place else []
        return _entries(self._git("ls-tree", "-z", "-l", "--full-tree", commit, *paths, most=_MOST_LISTED))

    def _blob(self, entry: _Entry) -> bytes:
        return self._git("cat-file", "blob", entry.id, most=MOST_BYTES)

    def _git(self, *arguments: str, most: int, cut: bool = False) -> bytes:
        return _git(self.top, *arguments, most=most, cut=cut)


def checkout_of(path: Path) -> Checkout | None:
    """The checkout that `path` lies in; None where it lies in none, or its HEAD does not have it.

    Raises MeshwardError (MW3055): git is not here (`has_git`), or the checkout belongs to somebody else.
    """
    place = path.absolute().parent.resolve() / path.name if not path.is_dir() else path.resolve()
    start = place if place.is_dir() and not place.is_symlink() else place.parent
    marked = next((each for each in (start, *start.parents) if (each / ".git").exists()), None)
    if marked is None:
        return None
    _require_ours(marked)
    _require_ours(marked / ".git")
    inside = place.relative_to(marked).as_posix()
    found = Checkout(path, marked, "" if inside == "." else inside)
    try:
        commit = found.head()
    except MeshwardError:  # nothing is committed yet
        return None
    return found if found.holds(commit) else None


def has_git() -> bool:
    """Whether the git binary is here."""
    return any(os.access(Path(each) / "git", os.X_OK) for each in _ENVIRONMENT["PATH"].split(":"))


def _require_ours(path: Path) -> None:
    """Whoever owns a checkout writes its configuration, and decides what HEAD is."""
    owner = path.lstat().st_uid
    if owner not in (os.geteuid(), 0):
        raise MeshwardError(
            codes.CHECKOUT_OF_ANOTHER,
            f"the checkout {quoted(str(path), 4096)} belongs to another user (uid {owner})",
        )


def _git(top: Path, *arguments: str, most: int, cut: bool = False) -> bytes:
    """What git says, at most `most` bytes of it: more is refused, or with `cut` not read. Raises MeshwardError."""
    command = ["git", f"--git-dir={top / '.git'}", *_OPTIONS, *arguments]
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=_ENVIRONMENT,
            cwd="/",
        )
    except OSError as error:
        raise _checkout_error(top, f"git cannot be run: {error.strerror}") from None
    timer = threading.Timer(_TIMEOUT, process.kill)
    timer.start()
    try:
        with process:
            data = process.stdout.read(most + 1) if process.stdout else b""
            if len(data) > most:
                process.kill()
    finally:
        timer.cancel()
    if len(data) > most and cut:
        return data[:most]
    if len(data) > most:
        raise _checkout_error(top, f"git says more than {most} bytes about it")
    if process.returncode != 0:
        raise _checkout_error(top, f"`git {arguments[0]}` failed ({process.returncode})")
    return data


def _entries(listing: bytes) -> list[_Entry]:
    found = []
    for line in listing.decode("utf-8", "surrogateescape").split("\0"):
        facts, tab, name = line.partition("\t")
        if tab and (match := _ENTRY.fullmatch(facts)):
            size = 0 if match["size"] == "-" else int(match["size"])
            found.append(_Entry(match["mode"], match["kind"], match["id"], size, name))
    return found


def _is_policy(name: str) -> bool:
    return name.endswith(SUFFIXES) and not name.rpartition("/")[2].startswith(".")


def _content(path: Path, size: int) -> bytes | None:
    """Of a regular file; a byte more than `size` at most."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        return file.read(size + 1)


def _one_line(text: str, most: int) -> str:
    """One line for people: what a terminal would not show as itself becomes `?`."""
    line = "".join(
        character if quoted(character) == f"`{character}`" else "?" for character in text[: most + 1]
    )
    return line if len(line) <= most else f"{line[:most]}..."


def _checkout_error(path: Path, why: str) -> MeshwardError:
    return MeshwardError(
        codes.CHECKOUT_UNUSABLE,
        f"the checkout of {quoted(str(path), 4096)} cannot be followed: {why}",
    )
