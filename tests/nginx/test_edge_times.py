"""A request has an end: by its model's `timeout` in silence, and by its `max_duration` however steadily bytes come."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from edge_harness import DEADLINE, Answer, Edge, Received, message, permit, running
from test_edge_streams import NATIVE, V1, ask, begun, events, read, serve

from meshward.testing.waiting import eventually

CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n" + CHUNKED
JSON = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n" + CHUNKED
N0 = b'data: {"n": 0}\n\n'


def _ages(file: str, text: str) -> str:
    """The clock goes as much ahead as a file says, and the end of an answer may take an hour to go out."""
    if file == "lua/overdue.lua":
        assert "GRACE = 5 " in text
        return text.replace("GRACE = 5 ", "GRACE = 3600 ")
    ahead = "local file = io.open(require('settings').page .. '.ahead') local ahead = file:read('*n') file:close()"
    whole = "return tonumber(time.seconds)"
    assert file != "lua/clock.lua" or whole in text
    return text.replace(whole, f"{ahead} return ahead + tonumber(time.seconds)")


@pytest.fixture(scope="module")
def _aging() -> Iterator[Edge]:
    edge = Edge(_ages)
    age(edge, 0)
    try:
        yield edge.start()
    finally:
        edge.stop()


@pytest.fixture
def aging(_aging: Edge) -> Edge:
    """An edge for which time passes when it is told so: however slow the machine is, nothing is late before."""
    age(_aging, 0)
    _aging.reset()
    return _aging


def age(edge: Edge, seconds: int) -> None:
    edge.put("page.ahead", str(seconds))


def allow(edge: Edge, silence: int, whole: int) -> None:
    edge.decision.answer = lambda _: permit(mw_times=f"{silence} {whole}")


def leaves(edge: Edge, head: bytes = STREAM, first: bytes = N0) -> threading.Event:
    """A guard that sends `first`, and breaks off when the event is set, as Envoy does when a time is over."""
    go = threading.Event()

    async def stream(writer: asyncio.StreamWriter) -> None:
        writer.write(head + b"%x\r\n%b\r\n" % (len(first), first))
        await writer.drain()
        while not go.is_set():
            await asyncio.sleep(0.01)

    edge.guard.answer = lambda _: Answer(stream=stream)
    return go


def told(last: dict[str, Any]) -> str:
    return str(last["error"]["code"] if isinstance(last["error"], dict) else last["error_type"])


@pytest.mark.parametrize("path", [V1, NATIVE])
def test_a_steady_stream_ends_with_an_event_when_its_time_is_over(aging: Edge, path: str) -> None:
    """One byte every so often would never be silent for long."""
    allow(aging, 60, 3600)
    model = serve(aging, count=3000)
    with aging.client() as client:
        rid = ask(client, path)
        first = begun(client)
        age(aging, 3600)
        body, whole = read(client)
    *before, last = events(first + body)
    assert whole and before and told(last) == "time_over"
    eventually(lambda: model.gone)
    assert model.sent < 3000
    line = aging.line(rid)
    assert (line["status"], line["reason"], line["last"], line["layer"]) == ("200", "time_over", "", "")


@pytest.mark.parametrize("path", [V1, NATIVE])
def test_a_stream_that_a_guard_left_in_its_silence_ends_with_an_event(aging: Edge, path: str) -> None:
    allow(aging, 60, 3600)
    go = leaves(aging)
    with aging.client() as client:
        rid = ask(client, path)
        first = begun(client)
        age(aging, 60)
        go.set()
        body, whole = read(client)
    first, last = events(first + body)
    assert whole and first == {"n": 0} and told(last) == "guard_timeout"
    line = aging.line(rid)
    assert (line["status"], line["reason"], line["last"]) == ("200", "guard_timeout", "")


def test_a_stream_that_was_silent_when_its_time_was_over_ends_with_an_event(aging: Edge) -> None:
    allow(aging, 3600, 3600)
    go = leaves(aging, first=N0[:9])  # in the midst of an event
    with aging.client() as client:
        rid = ask(client)
        assert client.chunk() == N0[:9]
        age(aging, 3600)
        go.set()
        body, whole = read(client)
    assert whole and body.startswith(b"\n\ndata: {") and b'"time_over"' in body
    assert aging.line(rid)["reason"] == "time_over"


def test_no_event_where_a_model_breaks_off_before_its_time(edge: Edge) -> None:
    """That is no limit of ours: it must not look whole, nor be called one."""
    allow(edge, 60, 3600)
    leaves(edge).set()
    with edge.client() as client:
        rid = ask(client)
        body, whole = read(client)
    assert not whole and body == N0
    line = edge.line(rid)
    assert (line["reason"], line["last"]) == ("", "")


@pytest.mark.parametrize(("times", "reason"), [((3600, 60), "time_over"), ((60, 3600), "guard_timeout")])
def test_what_is_no_stream_is_broken_off_with_the_reason(
    aging: Edge, times: tuple[int, int], reason: str
) -> None:
    allow(aging, *times)
    go = leaves(aging, JSON, b"[1,")
    with aging.client() as client:
        rid = ask(client)
        assert client.chunk() == b"[1,"
        age(aging, 60)
        go.set()
        rest = client.rest()
    assert not rest.endswith(b"0\r\n\r\n") and b"error" not in rest
    line = aging.line(rid)
    assert (line["last"], line["reason"]) == ("", reason)


def drip(edge: Edge, path: str) -> None:
    """A body that comes byte by byte, until it is hung up on."""
    with edge.client() as client:
        head = message("POST", path, "ok", body=b"").replace(b"Content-Length: 0", b"Content-Length: 9000")
        client.send(head)
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            for _ in range(9000):
                client.send(b" ")
                time.sleep(0.01)
        assert client.rest() == b""
    eventually(lambda: any(line["reason"] == "time_over" for line in edge.lines()), what="its line")
    assert edge.guard.received == [], "the model was not asked"


def test_a_body_that_comes_byte_by_byte_is_hung_up_on(edge: Edge) -> None:
    allow(edge, 60, 1)
    drip(edge, "/m/minilm/embed")


def test_so_is_one_that_has_yet_to_name_its_model() -> None:
    def hasty(file: str, text: str) -> str:
        return text.replace("UNNAMED = 3600", "UNNAMED = 1") if file == "lua/overdue.lua" else text

    with running(script=hasty) as edge:
        drip(edge, "/v1/chat/completions")


def test_whoever_does_not_read_the_end_is_hung_up_on(edge: Edge) -> None:
    """What holds an answer up may be its caller: nothing of it goes out, so nothing can be ended in it."""
    allow(edge, 60, 1)
    asked = threading.Event()

    async def much(writer: asyncio.StreamWriter) -> None:
        asked.set()
        writer.write(STREAM)
        while True:
            writer.write(b"%x\r\n%b\r\n" % (65536, b"x" * 65536))
            await writer.drain()
            await asyncio.sleep(0)  # else a lost connection is never told, and this never ends

    def answer(_: Received) -> Answer:
        return Answer(stream=much)

    edge.guard.answer = answer
    with edge.client() as client:
        client.send(message("POST", V1, "ok", body=b"{}"))
        assert asked.wait(DEADLINE)
        eventually(lambda: any(line["reason"] == "time_over" for line in edge.lines()), what="its line")


def test_a_request_in_its_time_is_left_alone(edge: Edge) -> None:
    allow(edge, 60, 60)
    serve(edge, count=5)
    with edge.client() as client:
        rid = ask(client)
        first = begun(client)
        body, whole = read(client)
        assert whole and len(events(first + body)) == 5
        line = edge.line(rid)
        assert (line["last"], line["reason"]) == ("1", "")
