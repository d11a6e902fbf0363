"""A running answer ends when its caller is revoked or its token ends: by an event, or broken off, never as if whole."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from edge_harness import TIE, Answer, Client, Edge, Received, message, permit, running

from meshward.testing.waiting import eventually

OTHER = "cd" * 16
EVERY = 0.02  # seconds between two chunks
LOOK = 0.2  # seconds between two looks, in these tests
SOON = 20 * LOOK / EVERY  # chunks: a fifth of what the model would send
V1, NATIVE = "/m/minilm/v1/chat/completions", "/m/minilm/generate_stream"


def quick(script: str) -> str:
    """Looks ten times as often, so that no test waits for seconds."""
    return looking(script, LOOK)


def slow(script: str) -> str:
    """Looks so seldom that every answer is a short one."""
    return looking(script, 60)


def looking(script: str, seconds: float) -> str:
    assert "const LOOK = 2000;" in script, "what is promised"
    return script.replace("const LOOK = 2000;", f"const LOOK = {int(seconds * 1000)};")


@pytest.fixture(scope="module")
def _quick() -> Iterator[Edge]:
    with running(quick) as edge:
        yield edge


@pytest.fixture
def edge(_quick: Edge) -> Edge:
    _quick.reset()
    return _quick


@dataclass
class Model:
    """Sends `piece(n)` again and again, `count` times; `sent` counts, `gone` is when its caller had left."""

    piece: Callable[[int], bytes] = lambda n: b'data: {"n": %d}\n\n' % n
    count: int = 1000
    every: float = EVERY
    headers: str = "Content-Type: text/event-stream\r\nTransfer-Encoding: chunked"
    sent: int = 0
    gone: bool = False
    failed: list[str] = field(default_factory=list)

    def __call__(self, _: Received) -> Answer:
        return Answer(stream=self._stream)

    async def _stream(self, writer: asyncio.StreamWriter) -> None:
        chunked = "chunked" in self.headers
        try:
            writer.write(f"HTTP/1.1 200 OK\r\n{self.headers}\r\n\r\n".encode())
            for number in range(self.count):
                await asyncio.sleep(self.every if number else 0)
                piece = self.piece(number)
                writer.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
                await writer.drain()
                self.sent += 1
            writer.write(b"0\r\n\r\n" if chunked else b"")
            await writer.drain()
        except ConnectionError:
            self.gone = True
            raise


def serve(edge: Edge, **how: Any) -> Model:
    model = Model(**how)
    edge.guard.answer = model
    return model


def ask(client: Client, path: str = V1, token: str = "ok") -> str:
    """Ask; returns the request's id once the answer has begun."""
    client.send(message("POST", path, token, body=b"{}"))
    head = client.head()
    assert head.status == 200
    return str(head.get("X-Request-Id"))


def read(client: Client) -> tuple[bytes, bool]:
    """The rest of a chunked answer, and whether it came to its proper end."""
    body = b""
    try:
        while piece := client.chunk():
            body += piece
    except OSError:
        return body, False
    return body, True


def events(body: bytes) -> list[dict[str, Any]]:
    """As any reader of event streams: whole events, parsed. Raises ValueError for one that is torn."""
    assert body.endswith(b"\n\n")
    return [
        json.loads(line[5:])
        for line in body.replace(b"\r\n", b"\n").split(b"\n")
        if line.startswith(b"data:")
    ]


def begun(client: Client) -> bytes:
    first = client.chunk()
    assert first.startswith(b"data:")
    return first


@pytest.mark.parametrize("path", [V1, NATIVE])
def test_a_revoked_stream_ends_with_an_event_of_its_family(edge: Edge, path: str) -> None:
    model = serve(edge)
    with edge.client() as client:
        rid = ask(client, path)
        head = begun(client)
        edge.revoke(OTHER, TIE)
        before_it = model.sent
        body, whole = read(client)
    assert whole
    *before, last = events(head + body)
    assert [each["n"] for each in before] == list(range(len(before))) and len(before) > 1
    told = last["error"] if path == V1 else last
    assert last["request_id"] == rid and last["layer"] == "edge"
    if path == V1:
        assert (told["code"], told["type"], told["param"]) == ("revoked", "authentication_error", None)
    else:
        assert told["error_type"] == "revoked" and "revoked" in told["error"]
    eventually(lambda: model.gone)
    assert model.sent - before_it < SOON, "at one of the next looks"
    line = edge.line(rid)
    assert (line["status"], line["reason"], line["last"], line["layer"]) == ("200", "revoked", "", "")
    assert line["resd"] == base64.b64encode(hashlib.sha256(head + body).digest()).decode(), "of what was sent"


def test_others_are_not_touched(edge: Edge) -> None:
    edge.revoke(OTHER)
    serve(edge, count=int(4 * LOOK / EVERY))
    with edge.client() as client:
        rid = ask(client)
        body, whole = read(client)
    assert whole and len(events(body)) == int(4 * LOOK / EVERY)
    assert (edge.line(rid)["last"], edge.line(rid)["reason"]) == ("1", "")


@pytest.mark.parametrize("ties", [f"{TIE} {OTHER}", f"{OTHER} {TIE}", " ".join([*["0" * 32] * 15, TIE])])
def test_each_of_an_answers_ties_ends_it(edge: Edge, ties: str) -> None:
    edge.decision.answer = lambda _: permit(mw_ties=ties)
    edge.revoke("ef" * 16, TIE)
    serve(edge)
    with edge.client() as client:
        ask(client)
        assert events(read(client)[0])[-1]["error"]["code"] == "revoked"


def test_a_revocation_ends_by_itself_and_can_be_taken_back(edge: Edge) -> None:
    edge.revoke(TIE, until=int(time.time()))
    serve(edge)
    with edge.client() as client:
        ask(client)
        for _ in range(int(3 * LOOK / EVERY)):
            begun(client)
        edge.revoke(TIE, until=int(time.time()) + 1000)
        assert events(read(client)[0])[-1]["error"]["code"] == "revoked"
    edge.revoke()
    with edge.client() as client:
        ask(client)
        for _ in range(int(3 * LOOK / EVERY)):
            begun(client)


@pytest.mark.parametrize(
    ("kind", "length"),
    [
        ("application/json", False),
        ("application/json", True),
        ("text/event-stream", True),
        ("text/event-streamer", False),
    ],
)
def test_what_is_no_open_event_stream_is_broken_off(edge: Edge, kind: str, length: bool) -> None:
    """An event in place of the rest would leave a length unkept: what follows on the connection would fill it."""
    framing = "Content-Length: 10000" if length else "Transfer-Encoding: chunked"
    model = serve(edge, piece=lambda _: b"[1],", headers=f"Content-Type: {kind}\r\n{framing}")
    edge.revoke(TIE)
    with edge.client() as client:
        rid = ask(client)
        rest = client.rest()
    assert b"error" not in rest and not rest.endswith(b"0\r\n\r\n") and len(rest) < 10_000
    eventually(lambda: model.gone)
    line = edge.line(rid)
    assert (line["reason"], line["last"]) == ("revoked", "")


def test_an_answer_that_was_long_in_coming_is_broken_off_before_its_first_byte(edge: Edge) -> None:
    edge.revoke(TIE)
    edge.guard.answer = lambda _: Answer(
        200, {"Content-Type": "application/json"}, b'{"secret":1}', delay=2 * LOOK
    )
    with edge.client() as client:
        client.send(message("POST", V1, body=b"{}"))
        assert b"secret" not in client.rest()


def test_a_short_answer_reads_no_file() -> None:
    with running(slow) as edge:
        (edge.run / "revoked").unlink()
        answer = edge.request("POST", V1, body=b"{}")
        line = edge.line(answer.get("X-Request-Id"))
    assert (line["last"], line["reason"]) == ("1", "")


def test_events_that_come_in_pieces_are_whole_or_absent(edge: Edge) -> None:
    """Each event in three chunks, `\\n\\n` split as well: the client never sees a torn one."""
    whole = [b'data: {"n": %d}\r\n\r\n' % n for n in range(400)]
    pieces = [part for text in whole for part in (text[:9], text[9:-1], text[-1:])]
    serve(edge, piece=lambda n: pieces[n], count=len(pieces), every=0.01)
    edge.revoke(TIE)
    for _ in range(4):
        with edge.client() as client:
            ask(client)
            body, ended = read(client)
        assert ended
        *before, last = events(body)
        assert [each["n"] for each in before] == list(range(len(before)))
        assert last["error"]["code"] == "revoked"


def test_a_stream_without_any_end_of_an_event_is_ended_all_the_same(edge: Edge) -> None:
    serve(edge, piece=lambda _: b"x" * 8000)
    edge.revoke(TIE)
    with edge.client() as client:
        ask(client)
        body, whole = read(client)
    assert whole and b'\n\ndata: {"error"' in body and len(body) < 65536 + 8000 * SOON


POISON = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison\n\n"


def test_nothing_follows_the_end_on_the_connection(edge: Edge) -> None:
    """What the model sends on must not become the answer to the request behind."""
    model = serve(edge, piece=lambda _: POISON)
    edge.revoke(TIE)
    with edge.client() as client:
        ask(client)
        client.send(message("GET", "/m/minilm/second"))
        assert read(client)[1]
        assert client.rest() == b""
    eventually(lambda: model.gone)


def test_the_connection_serves_on_where_the_model_ends_by_itself(edge: Edge) -> None:
    serve(edge, piece=lambda _: POISON, every=LOOK + 0.05, count=2)
    edge.revoke(TIE)
    with edge.client() as client:
        rid = ask(client)
        body, whole = read(client)
        assert whole and body.count(b"poison") <= 1 and body.endswith(b"}\n\n")
        eventually(lambda: [line for line in edge.lines() if line["rid"] == rid])
        edge.guard.answer = lambda _: Answer(200, {"Content-Type": "text/plain"}, b"second")
        assert client.request("GET", "/m/minilm/second").body == b"second"
    assert (edge.line(rid)["reason"], edge.line(rid)["last"]) == ("revoked", "")


_DAMAGED: dict[str, str | None] = {
    "gone": None,
    "empty": "",
    "cut off": f"{OTHER} 0000000000\n",
    "cut in a line": f"{OTHER} 00000",
    "other words": f"nobody {OTHER[7:]} 0000000000\nend\n",
    "no end of it": f"{TIE} 000000000a\nend\n",
    "a line too short": f"{OTHER} 0\nend\n",
    "out of step": f"{'0' * 20}{TIE} 0000000000\n{'0' * 23}\nend\n",
}


@pytest.mark.parametrize("how", _DAMAGED)
def test_a_list_that_cannot_be_read_ends_streams_and_says_so(edge: Edge, how: str) -> None:
    content = _DAMAGED[how]
    model = serve(edge)
    with edge.client() as client:
        rid = ask(client)
        begun(client)
        if content is None:
            (edge.run / "revoked").unlink()
        else:
            edge.put("revoked", content)
        body, whole = read(client)
    assert whole
    error = events(body)[-1]["error"]
    assert (error["code"], error["type"]) == ("revocations_unknown", "server_error")
    assert edge.line(rid)["reason"] == "revocations_unknown"
    eventually(lambda: model.gone)


@pytest.mark.parametrize("ties", ["", TIE[:-1], TIE.upper(), f"{TIE},{OTHER}", " ".join([OTHER] * 17)])
def test_a_decision_that_ties_an_answer_to_nobody_lets_no_stream_run(edge: Edge, ties: str) -> None:
    edge.decision.answer = lambda _: permit(mw_ties=ties)
    serve(edge)
    with edge.client() as client:
        ask(client)
        assert events(read(client)[0])[-1]["error"]["code"] == "revocations_unknown"


def test_a_stream_ends_with_its_token_where_the_decision_says_so(edge: Edge) -> None:
    end = int(time.time()) + 2
    edge.decision.answer = lambda _: permit(mw_ends=str(end))
    model = serve(edge)
    with edge.client() as client:
        rid = ask(client)
        body, whole = read(client)
    assert whole and model.sent < model.count, "the answer would have gone on"
    assert time.time() >= end, "not before the token's own date"
    assert events(body)[-1]["error"]["code"] == "token_expired"
    assert edge.line(rid)["reason"] == "token_expired"


def test_a_token_that_ended_before_the_first_byte_ends_the_answer_there(edge: Edge) -> None:
    edge.decision.answer = lambda _: permit(mw_ends=str(int(time.time()) - 1))
    serve(edge)
    with edge.client() as client:
        ask(client)
        assert len(events(read(client)[0])) <= 2


@pytest.mark.parametrize("ends", ["soon", "-1", "1e9", "1700000000.5"])
def test_an_end_that_is_none_breaks_the_answer(edge: Edge, ends: str) -> None:
    edge.decision.answer = lambda _: permit(mw_ends=ends)
    serve(edge)
    with edge.client() as client:
        client.send(message("POST", V1, body=b"{}"))
        assert not client.rest().endswith(b"0\r\n\r\n") and b"data:" not in client.buffer


def _throwing(name: str) -> Callable[[str], str]:
    def script(text: str) -> str:
        head = f"function {name}("
        before, found, after = quick(text).partition(head)
        assert found
        arguments, brace, rest = after.partition("{\n")
        return f"{before}{head}{arguments}{brace}    throw new Error('x');\n{rest}"

    return script


@pytest.mark.parametrize(
    "name", ["over", "wait", "revoked", "holds", "end", "boundary", "event", "shape", "pass"]
)
def test_a_function_that_throws_lets_no_stream_go_on(name: str) -> None:
    with running(_throwing(name)) as edge:
        model = serve(edge)
        edge.revoke(TIE)
        with edge.client() as client:
            client.send(message("POST", V1, body=b"{}"))
            rest = client.rest()
        assert b'"code":"revoked"' not in rest
        eventually(lambda: model.gone)
