"""A server's key, from where the policy says that it is kept: an environment variable, a file, a command, or ourselves.

Whatever goes wrong is said without the value, without a command's arguments, and without what it printed.
"""

from __future__ import annotations

import os
import re
import secrets
import select
import signal
import stat
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from meshward.kit import codes
from meshward.kit.durable import private_directory, write_atomic
from meshward.kit.errors import MeshwardError
from meshward.kit.secret import Secret
from meshward.plan.ir import Credential
from meshward.runtime.place.identities import CLEAN_ENVIRONMENT

DIRECTORY = "credentials"
COMMAND_TIMEOUT = 10.0  # seconds
_MOST = 8192  # bytes
_FIT = re.compile(rf"[!-~]([ -~]{{0,{_MOST - 2}}}[!-~])?", re.ASCII)
_BY_HAND = "Try the command by hand, as the same user and in an empty environment."
_OTHERS = stat.S_IRWXO | stat.S_IWGRP

FileStamp = tuple[int, ...]
"""What tells one state of a file from another; empty where there is none."""


@dataclass(frozen=True, slots=True)
class FoundSecret:
    """A secret; `since` is when its file was written, else now, in seconds since the epoch."""

    secret: Secret
    since: float
    stamp: FileStamp = ()


def read_secret(name: str, kept: Credential, state: Path, *, make: bool = True) -> FoundSecret:
    """The secret called `name`; `make`: one of ours that is not there yet is made.

    Raises MeshwardError (MW3060, exit 4): why it cannot be had, and what to do.
    """
    try:
        match kept.source:
            case "env":
                return FoundSecret(_of_environment(kept.place[0]), time.time())
            case "file":
                return _of_file(Path(kept.place[0]))
            case "command":
                return FoundSecret(parse_secret(_run_for_secret(kept.place)), time.time())
            case "generated":
                return _of_file((ensure_key_file if make else key_file)(state, *kept.place))
    except _UnfitError as error:
        raise unavailable_error(name, error.why, error.remedy) from None


def stamp_of(kept: Credential, state: Path) -> FileStamp:
    """Of the file that holds the secret; empty where no file does, or where it cannot be seen."""
    if kept.source not in ("file", "generated"):
        return ()
    path = Path(kept.place[0]) if kept.source == "file" else key_file(state, *kept.place)
    try:
        return _stamp(path.stat())
    except OSError:
        return ()


def key_file(state: Path, model: str, version: str) -> Path:
    """Where the key that we make for a version is kept. A folder for each model: names may hold dots."""
    return state / DIRECTORY / model / version


def ensure_key_file(state: Path, model: str, version: str) -> Path:
    """That file, made now if there is none: 256 random bits."""
    path = key_file(state, model, version)
    if not path.exists():
        private_directory(state / DIRECTORY)
        private_directory(path.parent)
        write_atomic(path, secrets.token_urlsafe(32) + "\n")
    return path


def parse_secret(text: str) -> Secret:
    """`text` as a secret that a header can carry. Raises _UnfitError for any other (Envoy would take it)."""
    if not text:
        raise _UnfitError("it is empty", "Put the secret there.")
    if len(text) > _MOST:
        raise _UnfitError(f"it has more than {_MOST} bytes", "Give the secret alone.")
    if not _FIT.fullmatch(text):
        raise _UnfitError(
            "it is not one line of printable ASCII that begins and ends without a space",
            "Give the secret alone.",
        )
    return Secret(text)


def take_given(name: str, value: Secret) -> FoundSecret:
    """A value that a person gave. Raises MeshwardError (MW3060)."""
    try:
        return FoundSecret(parse_secret(value.reveal()), time.time())
    except _UnfitError as error:
        raise unavailable_error(name, error.why, error.remedy) from None


def unavailable_error(name: str, why: str, remedy: str) -> MeshwardError:
    return MeshwardError(codes.CREDENTIAL_NOT_HAD, f"the credential `{name}` cannot be had: {why}", remedy)


class _UnfitError(Exception):
    """No secret that may be sent; neither text holds a part of it."""

    def __init__(self, why: str, remedy: str) -> None:
        super().__init__(why)
        self.why = why
        self.remedy = remedy


def _of_environment(variable: str) -> Secret:
    text = os.environ.get(variable)
    if text is None:
        raise _UnfitError(
            f"the environment of `meshward up` has no `{variable}`", f"Start it with {variable} set."
        )
    return parse_secret(text)


def _of_file(path: Path) -> FoundSecret:
    """Whoever else may read it, or owns it, would share the secret or could change it."""
    if not path.is_absolute():
        raise _UnfitError(f"`{path}` is no absolute path", "Name the file from the root on.")
    try:
        data, seen = _content(path)
    except OSError as error:
        raise _UnfitError(f"`{path}`: {error.strerror}", "Put the secret there, mode 0600.") from None
    return FoundSecret(parse_secret(_strip_newline(data.decode("latin-1"))), seen.st_mtime, _stamp(seen))


def _content(path: Path) -> tuple[bytes, os.stat_result]:
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a FIFO must not make us wait
    try:
        seen = os.fstat(descriptor)
        _require_private(path, seen)
        return os.read(descriptor, _MOST + 3), seen
    finally:
        os.close(descriptor)


def _require_private(path: Path, seen: os.stat_result) -> None:
    if not stat.S_ISREG(seen.st_mode):
        raise _UnfitError(f"`{path}` is not a regular file", "Name a file.")
    if seen.st_uid not in (0, os.geteuid()):
        raise _UnfitError(
            f"`{path}` belongs to uid {seen.st_uid}",
            f"`chown {os.geteuid()} {path}`: its owner can change it.",
        )
    if seen.st_mode & _OTHERS:
        raise _UnfitError(
            f"others can use `{path}` (mode {stat.S_IMODE(seen.st_mode):04o})", f"`chmod 600 {path}`"
        )


def _stamp(seen: os.stat_result) -> FileStamp:
    return (seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns)


def _run_for_secret(argv: tuple[str, ...]) -> str:
    """What the command writes to its output. Nothing of ours reaches it: no input, no variables, no descriptors."""
    reader, writer = os.pipe()
    try:
        return _strip_newline(_run(argv, reader, writer).decode("latin-1"))
    finally:
        os.close(reader)


def _run(argv: tuple[str, ...], reader: int, writer: int) -> bytes:
    program, deadline = argv[0], time.monotonic() + COMMAND_TIMEOUT
    try:
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=writer, stderr=subprocess.DEVNULL,
            env=CLEAN_ENVIRONMENT, cwd="/", umask=0o077, start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        raise _UnfitError(f"`{program}` cannot be run: {error.strerror}", _BY_HAND) from None
    finally:
        os.close(writer)
    try:
        output = _read(reader, deadline)
        code = process.wait(max(0.0, deadline - time.monotonic()))
    except (TimeoutError, subprocess.TimeoutExpired):
        raise _UnfitError(f"`{program}` took longer than {COMMAND_TIMEOUT:.0f} s", _BY_HAND) from None
    finally:
        _end(process)
    if code != 0:
        raise _UnfitError(f"`{program}` exited with code {code}", _BY_HAND)
    return output


def _read(reader: int, deadline: float) -> bytes:
    """No more than can be of use. Raises TimeoutError."""
    poll, found = select.poll(), b""
    poll.register(reader, select.POLLIN)
    while poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
        part = os.read(reader, _MOST)
        found += part
        if not part:
            return found
        if len(found) > _MOST + 2:
            raise _UnfitError(
                f"its command printed more than {_MOST} bytes", "Let it print the secret alone."
            )
    raise TimeoutError


def _end(process: subprocess.Popen[bytes]) -> None:
    """It, and what it left running in its group: until we reap it, nobody else has its number."""
    if process.returncode is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _strip_newline(text: str) -> str:
    """Without the line break that editors and `echo` put at the end."""
    return text.removesuffix("\n").removesuffix("\r")
