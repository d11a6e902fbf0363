"""A hop's socket in other hands, of the same user: what a hop that was taken over may answer.

Run as a file: bind near PATH, take its place, become UID, and answer each connection: with bytes that never end, one
at a time, or `{}`, which says of a guard that it runs nothing. Each connection is said on a line of stdout.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

_DEADLINE = 300.0  # seconds after which it ends by itself


class Impostor:
    """It has the socket."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def asked(self) -> None:
        """Wait until somebody asked, once more."""
        assert self._process.stdout is not None and self._process.stdout.readline(), "it has ended"


@contextlib.contextmanager
def impostor(
    path: Path, answers: str = "", before: Callable[[], object] = lambda: None
) -> Iterator[Impostor]:
    """In the place of whoever has the socket at `path`, as the same user. Without `answers`, it answers without end.

    `before` it takes the place.
    """
    uid = path.lstat().st_uid
    before()
    command = [sys.executable, __file__, str(path), str(uid), answers]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        taken = Impostor(process)
        try:
            taken.asked()
            yield taken
        finally:
            process.kill()


@contextlib.contextmanager
def liar(path: Path) -> Iterator[Impostor]:
    """A guard's admin socket says, in form, that nothing was loaded; afterwards the guard has it again.

    One that was started anew meanwhile has another.
    """
    kept = path.parent.with_name(f"kept-{path.parent.name}.sock")
    with contextlib.ExitStack() as given_back, impostor(path, "{}", lambda: path.rename(kept)) as taken:
        given_back.callback(_give_back, kept, path, _made(path))
        yield taken


def _made(path: Path) -> tuple[int, int]:
    """Which file it is: an inode's number alone may soon be another's."""
    return path.lstat().st_ino, path.lstat().st_ctime_ns


def _give_back(kept: Path, path: Path, taken: tuple[int, int]) -> None:
    with contextlib.suppress(FileNotFoundError):  # the instance has ended
        if _made(path) == taken:
            kept.rename(path)
        else:
            kept.unlink()


def _say(what: str) -> None:
    """Not where the pipe is full: a test need not read what it does not ask for, and the next question is answered."""
    with contextlib.suppress(BlockingIOError):
        os.write(sys.stdout.fileno(), f"{what}\n".encode())


def _hear(connection: socket.socket) -> None:
    """A request, whole: who closes a connection on which something is unread breaks its answer off."""
    heard = b""
    while not heard.endswith(b"\r\n\r\n") and (piece := connection.recv(65536)):
        heard += piece


def _answer(connection: socket.socket, answer: bytes) -> None:
    with connection, contextlib.suppress(OSError):
        _say("asked")
        if answer:
            _hear(connection)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(answer), answer))
            return
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            connection.sendall(b"a")
            time.sleep(0.05)


def _serve(path: str, uid: int, answer: bytes) -> None:
    server = socket.socket(socket.AF_UNIX)
    beside = f"{os.path.dirname(path)}.sock"  # noqa: PTH120
    server.bind(beside)  # what else is in the hop's own directory is looked at
    os.chmod(beside, 0o777)  # noqa: PTH101
    os.chown(beside, uid, -1)
    os.rename(beside, path)  # noqa: PTH104
    if os.geteuid() == 0:
        os.nice(-10)  # it answers in time where the machine is busy
        os.setuid(uid)
    server.listen()
    os.set_blocking(sys.stdout.fileno(), False)
    _say("listening")
    threading.Timer(_DEADLINE, os._exit, (1,)).start()
    while True:
        connection, _ = server.accept()
        threading.Thread(target=_answer, args=(connection, answer), daemon=True).start()


if __name__ == "__main__":
    _serve(sys.argv[1], int(sys.argv[2]), sys.argv[3].encode())
