"""A hop's socket in other hands, of the same user: what a hop that was taken over may answer.

Run as a file: bind beside PATH, take its place, become UID, and answer each connection with bytes that never end, one
at a time. Each connection is said on a line of stdout.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
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
def impostor(path: Path) -> Iterator[Impostor]:
    """In the place of whoever has the socket at `path`, as the same user."""
    uid = path.lstat().st_uid
    command = [sys.executable, __file__, str(path), str(uid)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        taken = Impostor(process)
        try:
            taken.asked()
            yield taken
        finally:
            process.kill()


def _answer(connection: socket.socket) -> None:
    with connection, contextlib.suppress(OSError):
        print("asked", flush=True)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            connection.sendall(b"a")
            time.sleep(0.05)


def _serve(path: str, uid: int) -> None:
    server = socket.socket(socket.AF_UNIX)
    server.bind(f"{path}.x")
    os.chmod(f"{path}.x", 0o777)  # noqa: PTH101
    os.chown(f"{path}.x", uid, -1)
    os.rename(f"{path}.x", path)  # noqa: PTH104
    if os.geteuid() == 0:
        os.setuid(uid)
    server.listen()
    print("listening", flush=True)
    threading.Timer(_DEADLINE, os._exit, (1,)).start()
    while True:
        connection, _ = server.accept()
        threading.Thread(target=_answer, args=(connection,), daemon=True).start()


if __name__ == "__main__":
    _serve(sys.argv[1], int(sys.argv[2]))
