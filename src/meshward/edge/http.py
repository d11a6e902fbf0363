"""HTTP/1.1 as nginx speaks it to us by a unix socket: a request without a body, and its answer before the next.

What a server for everybody does besides (streams, pipelines, timers, logs) took a sixteenth of a cold decision. Idle
connections are closed by nginx, not by us, so none is closed while a request is on its way.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import cast
from urllib.parse import unquote

import structlog
from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from meshward.edge.replies import Headers
from meshward.kit.log import fault_of

Response = tuple[int, Headers, bytes]
"""Status, headers, body. The body's length is told by us."""
Respond = Callable[[str, str, Headers], Awaitable[Response]]
"""From method, path and headers, their names in lower case."""

_BACKLOG = 1024
_GRACE = 2.0  # seconds for answers under way when the service ends

log = structlog.get_logger("meshward.edge")


async def serve_http(respond: Respond, listener: socket.socket, stop: asyncio.Event) -> None:
    """Answer on `listener` until `stop`; what was asked before is answered still."""
    connections: set[Connection] = set()
    server = await asyncio.get_running_loop().create_unix_server(
        lambda: Connection(respond, connections), sock=listener, backlog=_BACKLOG
    )
    await stop.wait()
    server.close()
    if running := [each.answering for each in connections if each.answering is not None]:
        await asyncio.wait(running, timeout=_GRACE)
    for each in list(connections):
        each.close()


class Connection(asyncio.Protocol):
    """One connection. What is no HTTP ends it, and so does a request that does not wait for the answer before."""

    def __init__(self, respond: Respond, connections: set[Connection]) -> None:
        self.answering: asyncio.Task[None] | None = None
        self._respond = respond
        self._connections = connections
        self._parser = HttpRequestParser(self)
        self._target = b""
        self._headers: Headers = []

    def close(self) -> None:
        self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._connections.discard(self)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade):
            self.close()

    def on_message_begin(self) -> None:
        if self.answering is not None:
            raise HttpParserError("a request before the answer to the last")
        self._target, self._headers = b"", []

    def on_url(self, piece: bytes) -> None:
        self._target += piece

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name.lower(), value))

    def on_message_complete(self) -> None:
        path = unquote(self._target.partition(b"?")[0].decode("ascii"))
        method = self._parser.get_method().decode("ascii")
        answer = self._answer(method, path, last=not self._parser.should_keep_alive())
        self.answering = asyncio.get_running_loop().create_task(answer)

    async def _answer(self, method: str, path: str, *, last: bool) -> None:
        try:
            answer = _message(*await self._respond(method, path, self._headers))
        except Exception as error:
            log.error("fault", **fault_of(error))
            answer = _message(500, [], b"")
        self.answering = None
        if not self._transport.is_closing():
            self._transport.write(answer)
        if last:
            self.close()


def _message(status: int, headers: Headers, body: bytes) -> bytes:
    """The bytes of an answer. Raises ValueError where a header's value would begin a line of its own."""
    lines = [b"HTTP/1.1 %d " % status, *[b"%b: %b" % header for header in headers]]
    lines.append(b"content-length: %d" % len(body))
    head = b"\r\n".join(lines)
    if not head.count(b"\n") == head.count(b"\r") == len(lines) - 1 or b"\0" in head:
        raise ValueError("a header holds more than a line")
    return b"%b\r\n\r\n%b" % (head, body)
