"""STATE/control.sock: how other commands ask the running instance to change.

One JSON object on a line asks; lines of `{"progress": ...}` answer, and last `{"done": ...}` or `{"failed": ...}`.
Whoever can connect may ask: the socket is 0600 in a directory that is 0700, so that is its owner, and root. The
author is not what they say but whom the kernel names (SO_PEERCRED, unix(7)).
"""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import socket
import struct
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from meshward.control.ask import answer_or_refusal
from meshward.control.replies import decode, encode
from meshward.control.verbs.request import Asker, Controlled, Reply, Verb
from meshward.kit import codes
from meshward.kit.errors import MeshwardError
from meshward.kit.exits import Exit
from meshward.runtime.place.directories import State
from meshward.runtime.place.instance_file import nothing_runs_error
from meshward.runtime.place.lock import holder

SOCKET = "control.sock"
_MOST = 64 * 1024 * 1024  # bytes of one line
_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid

_R = TypeVar("_R", bound=Reply)


@asynccontextmanager
async def serve_socket(state: State, instance: Controlled) -> AsyncIterator[None]:
    """Answer on STATE/control.sock while inside."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, ValueError):
            await _answer(reader, writer, instance)
        writer.close()

    path = state.path / SOCKET
    with _within(state.path) as near:
        path.unlink(missing_ok=True)
        server = await asyncio.start_unix_server(serve, near, limit=_MOST)
        path.chmod(0o600)
    try:
        yield
    finally:
        server.close()
        path.unlink(missing_ok=True)


def ask(state: Path, verb: Verb[Any, _R], given: Mapping[str, Any], progress: Callable[[str], None]) -> _R:
    """Ask the instance that runs on `state` to do `verb`, and wait for what that comes to.

    Raises MeshwardError: what it refused, with its exit code, or that none runs.
    """
    return decode(verb, exchange(state, {"do": verb.name, **given}, progress))


def exchange(state: Path, request: Mapping[str, Any], progress: Callable[[str], None]) -> Mapping[str, Any]:
    """What the instance says last, as it says it. Raises MeshwardError where none says anything."""
    place = State(state)
    if not place.path.is_dir() or holder(place) is None:
        raise nothing_runs_error(state)
    with socket.socket(socket.AF_UNIX) as connection, _within(place.path) as near:
        try:
            connection.connect(near)
        except OSError as error:
            raise _silent_error(state, error) from None
        connection.sendall(json.dumps(request).encode() + b"\n")
        with connection.makefile("rb") as lines:
            for line in lines:
                said: dict[str, Any] = json.loads(line)
                if "progress" not in said:
                    return said
                progress(said["progress"])
    raise MeshwardError(
        codes.INSTANCE_SILENT,
        "the instance ended before it answered",
        "Start it again: it comes back on one whole revision; `meshward history` says on which.",
        exit_code=Exit.HOP_REFUSED,
    )


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, instance: Controlled) -> None:
    loop = asyncio.get_running_loop()

    def send(said: Mapping[str, Any]) -> None:
        with suppress(RuntimeError):  # the loop has ended
            line = json.dumps(said).encode() + b"\n"
            loop.call_soon_threadsafe(lambda: None if writer.is_closing() else writer.write(line))

    request = json.loads(await reader.readline())
    asker = Asker(_author(writer), lambda line: send({"progress": line}), facts={"from": "here"})
    send(encode(await asyncio.to_thread(answer_or_refusal, request, asker, instance)))
    await asyncio.sleep(0)
    await writer.drain()


def _author(writer: asyncio.StreamWriter) -> str:
    """The OS user at the other end, as the kernel knows it."""
    peer: socket.socket = writer.get_extra_info("socket")
    _, uid, _ = _CREDENTIALS.unpack(peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return user_name(uid)


def user_name(uid: int) -> str:
    """`name` of an OS user, or `uid 1234` where it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


@contextmanager
def _within(directory: Path) -> Iterator[str]:
    """The socket's path, short whatever the directory's is: sockaddr_un holds 107 bytes."""
    descriptor = os.open(directory, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}/{SOCKET}"
    finally:
        os.close(descriptor)


def _silent_error(state: Path, error: OSError) -> MeshwardError:
    return MeshwardError(
        codes.INSTANCE_SILENT,
        f"the instance in `{state}` cannot be asked: {error.strerror}",
    )
