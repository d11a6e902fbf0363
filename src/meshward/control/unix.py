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
from typing import Any

import structlog

from meshward.control.ask import answer
from meshward.control.verbs.request import Asker, Controlled
from meshward.kit import codes
from meshward.kit.errors import MeshwardError, PolicyInvalid
from meshward.kit.exits import Exit
from meshward.runtime.place.directories import State
from meshward.runtime.place.instance_file import nothing_runs
from meshward.runtime.place.lock import holder

SOCKET = "control.sock"
_MOST = 64 * 1024 * 1024  # bytes of one line
_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid

log = structlog.get_logger(__name__)


@asynccontextmanager
async def serving(state: State, instance: Controlled) -> AsyncIterator[None]:
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


def ask(state: Path, request: dict[str, Any], progress: Callable[[str], None]) -> dict[str, Any]:
    """Ask the instance that runs on `state`, and wait for what it says.

    Raises MeshwardError: what it refused, with its exit code, or that none runs.
    """
    place = State(state)
    if not place.path.is_dir() or holder(place) is None:
        raise nothing_runs(state)
    with socket.socket(socket.AF_UNIX) as connection, _within(place.path) as near:
        try:
            connection.connect(near)
        except OSError as error:
            raise _deaf(state, error) from None
        connection.sendall(json.dumps(request).encode() + b"\n")
        with connection.makefile("rb") as lines:
            for line in lines:
                told = json.loads(line)
                if "progress" in told:
                    progress(told["progress"])
                elif "done" in told:
                    done: dict[str, Any] = told["done"]
                    return done
                else:
                    raise failure(told["failed"])
    raise MeshwardError(
        codes.INSTANCE_SILENT,
        "the instance ended before it answered",
        "Start it again: it comes back on one whole revision; `meshward history` says on which.",
        exit_code=Exit.HOP_REFUSED,
    )


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, instance: Controlled) -> None:
    loop = asyncio.get_running_loop()

    def send(kind: str, value: object) -> None:
        with suppress(RuntimeError):  # the loop has ended
            line = json.dumps({kind: value}).encode() + b"\n"
            loop.call_soon_threadsafe(lambda: None if writer.is_closing() else writer.write(line))

    request = json.loads(await reader.readline())
    asker = Asker(_author(writer), lambda line: send("progress", line), facts={"from": "here"})
    kind, value = await asyncio.to_thread(told, request, asker, instance)
    send(kind, value)
    await asyncio.sleep(0)
    await writer.drain()


def told(request: dict[str, Any], asker: Asker, instance: Controlled) -> tuple[str, dict[str, Any]]:
    """`done` or `failed`, and what there is to say of it. Never raises."""
    try:
        return "done", answer(request, asker, instance)
    except MeshwardError as error:
        problems = [p.as_json() for p in error.problems] if isinstance(error, PolicyInvalid) else []
        told = {"code": error.code.number, "message": error.message, "remedy": error.remedy}
        return "failed", {**told, "exit": int(error.exit_code), "problems": problems}
    except Exception as error:
        log.exception("control_fault")
        fault = {
            "code": codes.NOT_UNDERSTOOD.number,
            "message": f"{type(error).__name__} while it was done",
            "remedy": "See STATE/logs.",
        }
        return "failed", {**fault, "exit": int(Exit.FAULT), "problems": []}


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


def failure(told: Mapping[str, Any]) -> MeshwardError:
    """What an instance says that it refused, as an error of the command that asked."""
    lines = "".join(f"\n    {each['code']}: {each['message']}" for each in told["problems"])
    message = f"{told['message']}{lines if len(told['problems']) > 1 else ''}"
    code = codes.decode(told["code"])
    if code is codes.UNKNOWN_CODE:
        message += f" ({told['code']})"
    return MeshwardError(code, message, told["remedy"], exit_code=Exit(told["exit"]))


def _deaf(state: Path, error: OSError) -> MeshwardError:
    return MeshwardError(
        codes.INSTANCE_SILENT,
        f"the instance in `{state}` cannot be asked: {error.strerror}",
    )
