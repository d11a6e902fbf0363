"""A request has an end: by its model's `timeout` in silence, and by its `max_duration` however steadily bytes come."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
import time
from typing import Any

import pytest
from edge_harness import DEADLINE, Answer, Edge, Received, message, permit, running
from test_edge_streams import NATIVE, V1, ask, begun, events, read, serve

from meshward.testing.waiting import eventually

CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n" + CHUNKED
JSON = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n" + CHUNKED
N0 = b'data: {"n": 0}\n\n'


def allow(edge: Edge, silence: int, whole: int) -> None:
    edge.decision.answer = lambda _: permit(mw_times=f"{silence} {whole}")


def leaves(edge: Edge, after: float, head: bytes = STREAM, first: bytes = N0) -> None:
    """A guard that sends `first`, and breaks off `after` some seconds, as Envoy does when a time is over."""

    async def stream(writer: asyncio.StreamWriter) -> None:
        writer.write(head + b"%x\r\n%b\r\n" % (len(first), first))
        await writer.drain()
        await asyncio.sleep(after)

    edge.guard.answer = lambda _: Answer(stream=stream)


def told(last: dict[str, Any]) -> str:
    return str(last["error"]["code"] if isinstance(last["error"], dict) else last["error_type"])


@pytest.mark.parametrize("path", [V1, NATIVE])
def test_a_steady_stream_ends_with_an_event_when_its_time_is_over(edge: Edge, path: str) -> None:
    """One byte every so often would never be silent for long."""
    allow(edge, 60, 1)
    model = serve(edge, count=3000)
    with edge.client() as client:
        rid = ask(client, path)
        body, whole = read(client)
    *before, last = events(body)
    assert whole and before and told(last) == "time_over"
    eventually(lambda: model.gone)
    assert model.sent < 3000
    line = edge.line(rid)
    assert (line["status"], line["reason"], line["last"], line["layer"]) == ("200", "time_over", "", "")


@pytest.mark.parametrize("path", [V1, NATIVE])
def test_a_stream_that_a_guard_left_in_its_silence_ends_with_an_event(edge: Edge, path: str) -> None:
    allow(edge, 1, 3600)
    leaves(edge, 1)
    with edge.client() as client:
        rid = ask(client, path)
        body, whole = read(client)
    first, last = events(body)
    assert whole and first == {"n": 0} and told(last) == "guard_timeout"
    line = edge.line(rid)
    assert (line["status"], line["reason"], line["last"]) == ("200", "guard_timeout", "")


def test_a_stream_that_was_silent_when_its_time_was_over_ends_with_an_event(edge: Edge) -> None:
    allow(edge, 60, 1)
    leaves(edge, 1, first=N0[:9])  # in the midst of an event
    with edge.client() as client:
        rid = ask(client)
        body, whole = read(client)
    assert whole and body.startswith(N0[:9] + b"\n\ndata: {") and b'"time_over"' in body
    assert edge.line(rid)["reason"] == "time_over"


def test_no_event_where_a_model_breaks_off_before_its_time(edge: Edge) -> None:
    """That is no limit of ours: it must not look whole, nor be called one."""
    allow(edge, 60, 3600)
    leaves(edge, 0)
    with edge.client() as client:
        rid = ask(client)
        body, whole = read(client)
    assert not whole and body == N0
    line = edge.line(rid)
    assert (line["reason"], line["last"]) == ("", "")


@pytest.mark.parametrize("times", [(60, 1), (1, 60)])
def test_what_is_no_stream_is_broken_off_with_the_reason(edge: Edge, times: tuple[int, int]) -> None:
    allow(edge, *times)
    leaves(edge, 1, JSON, b"[1,")
    with edge.client() as client:
        rid = ask(client)
        rest = client.rest()
    assert not rest.endswith(b"0\r\n\r\n") and b"error" not in rest
    line = edge.line(rid)
    assert (line["last"], line["reason"]) == ("", "time_over" if times[1] == 1 else "guard_timeout")


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
