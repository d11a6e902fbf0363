"""The decision service's HTTP, as nginx and as others could speak it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import uvloop

from meshward.edge.http import Respond, Response, serve_http
from meshward.edge.replies import Headers
from meshward.edge.serve import listen_at

QUESTION = b"GET /decide?x=%zz HTTP/1.1\r\nHost: decide\r\nX-Mw-Path: /a\r\n\r\n"


class Service:
    """Answers with what it was asked, once `open`; can be told to answer otherwise."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, Headers]] = []
        self.open = asyncio.Event()
        self.open.set()
        self.headers: Headers = [(b"x-mw-ttl", b"4")]
        self.fault: Exception | None = None

    async def respond(self, method: str, path: str, headers: Headers) -> Response:
        self.asked.append((method, path, headers))
        await self.open.wait()
        if self.fault is not None:
            raise self.fault
        return 403, self.headers, path.encode()


@asynccontextmanager
async def serving(place: Path, respond: Respond) -> AsyncIterator[asyncio.Event]:
    """Serves at `place` while inside; the event ends it before."""
    stop = asyncio.Event()
    with listen_at(place, None) as listener:
        served = asyncio.create_task(serve_http(respond, listener, stop))
        try:
            yield stop
        finally:
            stop.set()
            await served


def talk(tmp_path: Path, test: Callable[[Service, Path, asyncio.Event], Awaitable[None]]) -> None:
    async def run() -> None:
        service, place = Service(), tmp_path / "s"
        async with serving(place, service.respond) as stop:
            await asyncio.wait_for(test(service, place, stop), 60)

    uvloop.run(run())


async def said(reader: asyncio.StreamReader) -> bytes:
    """One answer, whose body is as long as it says."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
    return head + await reader.readexactly(length)


ANSWER = b"HTTP/1.1 403 \r\nx-mw-ttl: 4\r\ncontent-length: 7\r\n\r\n/decide"


def test_a_connection_serves_one_request_after_the_other(tmp_path: Path) -> None:
    async def test(service: Service, place: Path, _: asyncio.Event) -> None:
        reader, writer = await asyncio.open_unix_connection(place)
        for _ in range(3):
            writer.write(QUESTION)
            assert await said(reader) == ANSWER
        for byte in QUESTION:
            writer.write(bytes([byte]))
            await writer.drain()
        assert await said(reader) == ANSWER
        assert service.asked == [("GET", "/decide", [(b"host", b"decide"), (b"x-mw-path", b"/a")])] * 4
        writer.close()

    talk(tmp_path, test)


def test_a_path_is_read_as_it_is_meant(tmp_path: Path) -> None:
    async def test(service: Service, place: Path, _: asyncio.Event) -> None:
        reader, writer = await asyncio.open_unix_connection(place)
        writer.write(QUESTION.replace(b"/decide?x=%zz", b"/%64ecide%3F"))
        await said(reader)
        assert service.asked[0][1] == "/decide?"
        writer.close()

    talk(tmp_path, test)


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /decide HTTP/9.9\r\n\r\n",
        QUESTION.replace(b"Host: decide", b"Ho st: decide"),
        QUESTION.replace(b"Host: decide", b"Content-Length: 1\r\nTransfer-Encoding: chunked"),
        QUESTION.replace(b"/decide?x=%zz", b"/\xff"),
        QUESTION + QUESTION,
        QUESTION + b"G",
    ],
)
def test_what_is_no_http_or_does_not_wait_ends_its_connection_alone(tmp_path: Path, data: bytes) -> None:
    async def test(service: Service, place: Path, _: asyncio.Event) -> None:
        service.open.clear()
        reader, writer = await asyncio.open_unix_connection(place)
        other, asking = await asyncio.open_unix_connection(place)
        asking.write(QUESTION)
        writer.write(data)
        assert await reader.read() == b""
        service.open.set()
        assert await said(other) == ANSWER
        for each in (writer, asking):
            each.close()

    talk(tmp_path, test)


@pytest.mark.parametrize("asked", [b"Connection: close", b"Upgrade: h2c\r\nConnection: Upgrade"])
def test_a_connection_that_is_to_be_closed_is(tmp_path: Path, asked: bytes) -> None:
    async def test(_: Service, place: Path, __: asyncio.Event) -> None:
        reader, writer = await asyncio.open_unix_connection(place)
        writer.write(QUESTION.replace(b"Host: decide", asked))
        assert await reader.read() in (ANSWER, b"")
        writer.close()

    talk(tmp_path, test)


@pytest.mark.parametrize("value", [b"a\r\nx-mw-route: b", b"a\nb", b"a\rb", b"a\0b"])
def test_no_value_begins_a_line(tmp_path: Path, value: bytes) -> None:
    async def test(service: Service, place: Path, _: asyncio.Event) -> None:
        service.headers = [(b"x-mw-message", value)]
        reader, writer = await asyncio.open_unix_connection(place)
        writer.write(QUESTION)
        assert await said(reader) == b"HTTP/1.1 500 \r\ncontent-length: 0\r\n\r\n"
        writer.close()

    talk(tmp_path, test)


def test_a_fault_is_a_500_and_the_connection_goes_on(tmp_path: Path) -> None:
    async def test(service: Service, place: Path, _: asyncio.Event) -> None:
        service.fault = RuntimeError("secret")
        reader, writer = await asyncio.open_unix_connection(place)
        writer.write(QUESTION)
        assert await said(reader) == b"HTTP/1.1 500 \r\ncontent-length: 0\r\n\r\n"
        service.fault = None
        writer.write(QUESTION)
        assert await said(reader) == ANSWER
        writer.close()

    talk(tmp_path, test)


def test_who_leaves_before_the_answer_disturbs_nobody(tmp_path: Path) -> None:
    async def test(service: Service, place: Path, _: asyncio.Event) -> None:
        service.open.clear()
        _, leaving = await asyncio.open_unix_connection(place)
        leaving.write(QUESTION)
        while not service.asked:
            await asyncio.sleep(0)
        leaving.transport.abort()
        service.open.set()
        reader, writer = await asyncio.open_unix_connection(place)
        writer.write(QUESTION)
        assert await said(reader) == ANSWER
        writer.close()

    talk(tmp_path, test)


def test_at_the_end_what_was_asked_is_answered_and_idle_connections_are_closed(tmp_path: Path) -> None:
    async def test(service: Service, place: Path, stop: asyncio.Event) -> None:
        service.open.clear()
        idle, _ = await asyncio.open_unix_connection(place)
        reader, writer = await asyncio.open_unix_connection(place)
        writer.write(QUESTION)
        while not service.asked:
            await asyncio.sleep(0)
        stop.set()
        await asyncio.sleep(0)
        service.open.set()
        assert await reader.read() == ANSWER
        assert await idle.read() == b""

    talk(tmp_path, test)
