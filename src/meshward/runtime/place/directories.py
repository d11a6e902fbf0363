"""Where an instance keeps what: STATE (durable, ours alone), RUN (what other uids must reach), and memory.

Every directory is taken over only if it is a real directory of ours: these places are guessable, and some
(/var/tmp, /dev/shm) are writable by everybody.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from meshward.audit.places import CHANGES, HEARTBEAT
from meshward.kit import codes
from meshward.kit.canonical import digest
from meshward.kit.errors import MeshwardError
from meshward.kit.foreign import clear, directories_in, remove_tree
from meshward.kit.names import LONGEST_SOCKET, dns_label

ROOT_RUN = Path("/var/lib/meshward")
SHARED_TEMPORARY = Path("/var/tmp")  # noqa: S108  checked for its owner below
TWIN = "twin-"
"""How the name of a file in STATE begins that only lives while a vendor judges it."""
MEMORY = Path("/dev/shm")  # noqa: S108  checked for its owner below
_STATE_RUN_LIMIT = 60  # bytes; leaves room for the longest socket path under RUN
_PLAIN_PATH = re.compile(r"[A-Za-z0-9/._-]+", re.ASCII)  # what needs no quoting in any part's configuration
_MODEL_NAME_LIMIT = 16
_TRIES = 10


@dataclass(frozen=True, slots=True)
class State:
    """STATE, one instance's durable directory. A pure value: `open_state` makes it exist."""

    path: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", self.path.resolve())

    @property
    def hex(self) -> str:
        """8 hex digits that tell this machine's instances apart."""
        return hashlib.sha256(os.fsencode(self.path)).hexdigest()[:8]

    @property
    def lock_file(self) -> Path:
        return self.path / "lock"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    def log(self, part: str) -> Path:
        return self.logs / f"{part}.log"


@dataclass(frozen=True, slots=True)
class Run:
    """The layout of RUN. Socket properties raise MeshwardError where the path is too long for a socket.

    A hop has two directories. One is its own, for what it makes itself: logs, sockets, temporary files. What it is
    *given* lies below `given`, where it can only read: whoever owns a directory decides what is in it.
    """

    path: Path

    @property
    def given(self) -> Path:
        return self.path / "given"

    @property
    def edge_given(self) -> Path:
        return self.given / "edge"

    @property
    def decide_given(self) -> Path:
        return self.given / "decide"

    def guard_given(self, slot: int) -> Path:
        """For the guard in `slot` 0..63."""
        return self.given / "guards" / f"{slot:02d}"

    @property
    def edge_dir(self) -> Path:
        return self.path / "edge"

    @property
    def decide_dir(self) -> Path:
        return self.path / "decide"

    @property
    def decide_socket(self) -> Path:
        return socket_path(self.decide_dir / "decide.sock")

    @property
    def control_dir(self) -> Path:
        return self.path / "control"

    @property
    def control_socket(self) -> Path:
        return socket_path(self.control_dir / "control.sock")

    @property
    def heartbeat(self) -> Path:
        return self.path / HEARTBEAT

    @property
    def changes(self) -> Path:
        return self.path / CHANGES

    def guard_dir(self, slot: int) -> Path:
        """The guard in `slot` 0..63."""
        return self.path / "guards" / f"{slot:02d}"

    def guard_socket(self, slot: int) -> Path:
        return socket_path(self.guard_dir(slot) / "guard.sock")

    def model_dir(self, model: str, version: str) -> Path:
        """Short enough for a socket; the digest keeps (`a-b`, `c`) apart from (`a`, `b-c`)."""
        readable = dns_label(f"{model}-{version}")[:_MODEL_NAME_LIMIT]
        return self.path / "models" / f"{readable}-{digest([model, version])[:8]}"

    def model_socket(self, model: str, version: str) -> Path:
        return socket_path(self.model_dir(model, version) / "model.sock")


def open_state(path: Path) -> State:
    """STATE at `path`, created or tightened to 0700. Raises MeshwardError if it is no directory of ours."""
    state = State(path)
    if state.path.is_dir() and any(state.path.iterdir()) and not state.lock_file.exists():
        raise _directory_error(
            state.path, "is not empty and no state of meshward's: it would be closed to others"
        )
    own_directory(state.path, parents=True)
    if not os.path.lexists(state.lock_file):  # what else is there, whoever takes the lock says
        state.lock_file.touch(0o600)  # what tells a state from any other directory
    own_directory(state.logs)
    return state


def run_path(state: State) -> Path:
    """Where RUN is, whether or not it exists."""
    if os.geteuid() == 0:
        return ROOT_RUN / state.hex
    inside = state.path / "run"
    if len(os.fsencode(inside)) < _STATE_RUN_LIMIT and _PLAIN_PATH.fullmatch(str(inside)):
        return inside
    return SHARED_TEMPORARY / f"meshward-{os.geteuid()}-{state.hex}"


def run_directory(state: State) -> Path:
    """RUN, created or tightened. Root's is 0711, so that each part's uid reaches its own; else 0700."""
    path = run_path(state)
    if os.geteuid() != 0:
        return own_directory(path)
    for _ in range(_TRIES):  # whoever ends on another state may just remove it
        own_directory(ROOT_RUN, mode=0o711, parents=True)
        with suppress(FileNotFoundError):
            path.mkdir(mode=0o711, exist_ok=True)
            break
    return own_directory(path, mode=0o711)


def shm_path(state: State) -> Path:
    """Where release 0.1.0 kept decisions: nothing is there any more."""
    return MEMORY / f"meshward-{state.hex}"


def own_directory(
    path: Path, *, uid: int = -1, gid: int = -1, mode: int = 0o700, parents: bool = False
) -> Path:
    """Make `path` a directory with exactly this owner, group and mode (-1: leave as it is).

    Raises MeshwardError for a symbolic link, for anything that is no directory, and for one that belongs
    neither to us nor already to `uid`: whoever owns a directory decides what is in it.
    """
    if parents:
        path.parent.mkdir(parents=True, exist_ok=True)
    try:
        path.mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError as error:
        raise _directory_error(path, f"cannot be used as a directory ({error.strerror})") from error
    try:
        owner = os.fstat(descriptor).st_uid
        if owner not in (os.geteuid(), uid):
            raise _directory_error(path, f"belongs to uid {owner}, not to you (uid {os.geteuid()})")
        os.fchown(descriptor, uid, gid)
        os.fchmod(descriptor, mode)
    finally:
        os.close(descriptor)
    return path


def socket_path(path: Path) -> Path:
    """`path`, if a unix socket can have it. Raises MeshwardError if it is too long."""
    length = len(os.fsencode(path))
    if length > LONGEST_SOCKET:
        raise MeshwardError(
            codes.SOCKET_PATH_TOO_LONG,
            f"`{path}` has {length} bytes; a unix socket's path may have {LONGEST_SOCKET}",
        )
    return path


def clean(state: State) -> None:
    """Remove what must not outlive an instance: sockets, all that hops were given, what release 0.1.0 kept in memory.

    Logs stay: they may hold lines that no record covers yet. Keys are made or handed out anew at each start.
    """
    _remove_tree(shm_path(state))
    for twin in state.path.glob(f"{TWIN}*.json"):  # of a start or a change that was killed
        twin.unlink(missing_ok=True)
    root = run_path(state)
    if not root.is_dir() or root.is_symlink():
        return
    run = Run(root)
    remove_tree(run.given)
    inside = [each for name in ("guards", "models") for each in directories_in(root / name)]
    for directory in (run.edge_dir, run.decide_dir, run.control_dir, *inside):
        clear(directory)


def remove_run(state: State) -> None:
    """Remove RUN, which holds nothing any more that is not in STATE, and the directory of all RUNs if it was the last.

    Nothing of the instance may run. Raises MeshwardError.
    """
    path = run_path(state)
    if path.is_symlink():
        raise _directory_error(path, "is a symbolic link")
    remove_tree(path)
    if path.parent == ROOT_RUN:
        with suppress(OSError):  # it holds others'
            ROOT_RUN.rmdir()


def _remove_tree(path: Path) -> None:
    if path.is_symlink():
        raise _directory_error(path, "is a symbolic link")
    if path.exists():
        try:
            shutil.rmtree(path)
        except OSError as error:
            raise _directory_error(path, f"cannot be removed ({error.strerror})") from error


def _directory_error(path: Path, why: str) -> MeshwardError:
    return MeshwardError(
        codes.PATH_NOT_TRUSTED,
        f"`{path}` {why}",
    )
