"""A model server that writes down what reaches it. It answers 200 to anything: nothing hides behind a 404.

with closing(Recorder(Path("model.sock"))) as model:    # the policy's `url: unix:model.sock`
    ...
    (request,) = model.taken()
    assert request.header("authorization") == [], "a guard sends no caller's token"
    model.answer = json_answer({"error": "busy"}, status=503)
    model.answer = Stream(openai_event, count=20)
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

SERVERS_GID = 61001  # a group of the model servers' own, as an operator would give them


@dataclass(frozen=True, slots=True)
class Received:
    """One request, as it came."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> list[str]:
        """The values of each header of that name, whatever its case."""
        return [value for key, value in self.headers if key.lower() == name.lower()]


Answer = Callable[[Received, socket.socket], None]


class Recorder:
    """Serves on a unix socket until closed. `answer` writes the response to a request; by default one JSON object."""

    def __init__(self, path: Path, answer: Answer | None = None) -> None:
        self.path = path
        self.answer: Answer = answer or plain_answer
        self._received: list[Received] = []
        self._lock = threading.Lock()
        path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX)
        old = os.umask(0o117)
        try:
            self._listener.bind(str(path))
        finally:
            os.umask(old)
        if (
            os.geteuid() == 0
        ):  # then each guard is a user of its own, and joins the group of its server's socket
            os.chown(path, -1, SERVERS_GID)
        self._listener.listen(512)
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def taken(self) -> list[Received]:
        """What arrived since the last call."""
        with self._lock:
            received, self._received = self._received, []
        return received

    def close(self) -> None:
        # Else whoever waits there goes on by the number, which soon is another's.
        with suppress(OSError):  # it was closed before
            self._listener.shutdown(socket.SHUT_RDWR)
        self._accepting.join()
        self._listener.close()
        self.path.unlink(missing_ok=True)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as stream:
            try:
                while (request := _read(stream)) is not None:
                    with self._lock:
                        self._received.append(request)
                    self.answer(request, connection)
            except (OSError, ValueError):
                return


def plain_answer(request: Received, connection: socket.socket) -> None:
    json_answer({"ok": True, "path": request.target})(request, connection)


def json_answer(value: Any, status: int = 200) -> Answer:
    """Answers `value` to every request."""
    body = json.dumps(value).encode()
    head = f"HTTP/1.1 {status} -\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return lambda _, connection: connection.sendall(head.encode() + body)


@dataclass(frozen=True, slots=True)
class Stream:
    """Answers in chunks: `piece(n)` for n from 0 to `count` - 1, one every `every` seconds."""

    piece: Callable[[int], bytes]
    count: int
    every: float = 0.1
    content_type: str = "text/event-stream"

    def __call__(self, _: Received, connection: socket.socket) -> None:
        head = f"HTTP/1.1 200 OK\r\nContent-Type: {self.content_type}\r\nTransfer-Encoding: chunked\r\n\r\n"
        connection.sendall(head.encode())
        for number in range(self.count):
            piece = self.piece(number)
            connection.sendall(b"%x\r\n%b\r\n" % (len(piece), piece))
            time.sleep(self.every)
        connection.sendall(b"0\r\n\r\n")


def openai_event(number: int) -> bytes:
    """A piece of a chat, as vLLM streams it."""
    choice = {"index": 0, "delta": {"content": f"{number} "}, "finish_reason": None}
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    return f"data: {json.dumps(chunk)}\n\n".encode()


def tgi_event(number: int) -> bytes:
    """A token, as TGI streams it."""
    token = {"id": number, "text": f"{number} ", "logprob": 0.0, "special": False}
    return f"data:{json.dumps({'index': number, 'token': token, 'generated_text': None})}\n\n".encode()


def _read(stream: BinaryIO) -> Received | None:
    line = stream.readline()
    if not line:
        return None
    method, target, _ = line.decode("latin-1").split(" ", 2)
    headers: list[tuple[str, str]] = []
    while (line := stream.readline().rstrip(b"\r\n")) != b"":
        name, _, value = line.decode("latin-1").partition(":")
        headers.append((name, value.strip()))
    return Received(method, target, tuple(headers), _body(stream, {k.lower(): v for k, v in headers}))


def _body(stream: BinaryIO, headers: dict[str, str]) -> bytes:
    if "chunked" not in headers.get("transfer-encoding", ""):
        return stream.read(int(headers.get("content-length", "0")))
    body = b""
    while size := int(stream.readline().split(b";")[0], 16):
        body += stream.read(size)
        stream.read(2)
    stream.readline()
    return body
