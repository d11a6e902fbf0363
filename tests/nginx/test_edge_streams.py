"""A running answer ends when its caller is revoked or its token ends: by an event, or broken off, never as if whole."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from edge_harness import TIE, Answer, Client, Edge, Received, message, permit, running, throwing

from meshward.testing.waiting import DEADLINE, eventually

OTHER = "cd" * 16
EVERY = 0.02  # seconds between two chunks
SOON = 200  # chunks: a fifth of what the model would send
V1, NATIVE = "/m/minilm/v1/chat/completions", "/m/minilm/generate_stream"


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
    assert [each["n"] for each in before] == list(range(len(before))) and before
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


_N0, _N1 = b'data: {"n": 0}', b'data: {"n": 1}'
_LINES = [b"\n", b"\r\n", b"\r"]
# What was sent before, what the model sends then, and what of that belongs to an event that had begun.
_PIECES = {
    "nothing sent": (b"", _N1 + b"\n\n", b""),
    **{
        f"whole, {one + two!r}": (_N0 + one + two, _N1 + b"\n\n", b"")
        for one in _LINES
        for two in _LINES
        if one + two != b"\r\n"
    },
    "a line": (_N0 + b"\n", b"\n" + _N1 + b"\n\n", b"\n"),
    "half a line": (_N0[:9], _N0[9:] + b"\r\n\r\n" + _N1 + b"\r\n\r\n", _N0[9:] + b"\r\n\r\n"),
    "half an empty line": (_N0 + b"\r\n\r", b"\n" + _N1 + b"\r\n\r\n", b"\n"),
    "CR and LF": (_N0 + b"\r", b"\n\r\n" + _N1 + b"\r\n\r\n", b"\n\r\n"),
}


@pytest.mark.parametrize(("sent", "more", "rest"), _PIECES.values(), ids=_PIECES)
def test_a_revoked_caller_gets_the_rest_of_an_event_that_had_begun_and_no_other(
    edge: Edge, sent: bytes, more: bytes, rest: bytes
) -> None:
    go = threading.Event()

    async def stream(writer: asyncio.StreamWriter) -> None:
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        writer.write(b"%x\r\n%b\r\n" % (len(sent), sent) if sent else b"")
        await writer.drain()
        while not go.is_set():
            await asyncio.sleep(0.01)
        writer.write(b"%x\r\n%b\r\n" % (len(more), more))
        await writer.drain()

    edge.guard.answer = lambda _: Answer(stream=stream)
    with edge.client() as client:
        ask(client)
        assert not sent or client.chunk() == sent
        edge.revoke(TIE)
        go.set()
        body, whole = read(client)
    assert whole and body.startswith(rest + b'data: {"error"')
    assert b'"n": 1' not in body


def test_others_are_not_touched(edge: Edge) -> None:
    serve(edge, count=20)
    with edge.client() as client:
        rid = ask(client)
        head = begun(client)
        edge.revoke(OTHER)
        body, whole = read(client)
    assert whole and len(events(head + body)) == 20
    assert (edge.line(rid)["last"], edge.line(rid)["reason"]) == ("1", "")


@pytest.mark.parametrize("ties", [f"{TIE} {OTHER}", f"{OTHER} {TIE}", " ".join([*["0" * 32] * 15, TIE])])
def test_each_of_an_answers_ties_ends_it(edge: Edge, ties: str) -> None:
    edge.decision.answer = lambda _: permit(mw_ties=ties)
    serve(edge)
    with edge.client() as client:
        ask(client)
        begun(client)
        edge.revoke("ef" * 16, TIE)
        assert events(read(client)[0])[-1]["error"]["code"] == "revoked"


def test_a_revocation_ends_by_itself_and_can_be_taken_back(edge: Edge) -> None:
    serve(edge)
    with edge.client() as client:
        ask(client)
        begun(client)
        for until in (int(time.time()) - 1, None):
            edge.revoke(*([TIE] if until else []), until=until or 0)
            for _ in range(3):
                begun(client)
        edge.revoke(TIE, until=int(time.time()) + 1000)
        assert events(read(client)[0])[-1]["error"]["code"] == "revoked"


@pytest.mark.parametrize(
    ("kind", "length"),
    [
        ("application/json", False),
        ("application/json", True),
        ("text/event-stream", True),
        ("text/event-streamer", False),
        ("text/event-stream\r\nContent-Encoding: gzip", False),
    ],
)
def test_what_is_no_open_event_stream_is_broken_off(edge: Edge, kind: str, length: bool) -> None:
    """An event in place of the rest would leave a length unkept: what follows on the connection would fill it. In the
    middle of coded bytes nobody reads it, and the proper end behind it says that they were whole.
    """
    framing = "Content-Length: 10000" if length else "Transfer-Encoding: chunked"
    model = serve(edge, piece=lambda _: b"[1],", headers=f"Content-Type: {kind}\r\n{framing}")
    with edge.client() as client:
        rid = ask(client)
        edge.revoke(TIE)
        rest = client.rest()
    assert b"error" not in rest and not rest.endswith(b"\r\n0\r\n\r\n") and len(rest) < 10_000
    eventually(lambda: model.gone)
    line = edge.line(rid)
    assert (line["reason"], line["last"]) == ("revoked", "")


def test_an_answer_that_was_long_in_coming_is_broken_off_before_its_first_byte(edge: Edge) -> None:
    asked, revoked = threading.Event(), threading.Event()

    async def slowly(writer: asyncio.StreamWriter) -> None:
        asked.set()
        await asyncio.to_thread(revoked.wait, DEADLINE)
        writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n{"secret":1}')
        await writer.drain()

    edge.guard.answer = lambda _: Answer(stream=slowly)
    with edge.client() as client:
        client.send(message("POST", V1, body=b"{}"))
        assert asked.wait(DEADLINE)
        edge.revoke(TIE)
        revoked.set()
        assert b"secret" not in client.rest()


def test_while_the_epoch_stands_nobody_reads_the_list(edge: Edge) -> None:
    (edge.run / "revoked").unlink()
    serve(edge, count=20)
    with edge.client() as client:
        rid = ask(client)
        assert read(client)[1]
    assert (edge.line(rid)["last"], edge.line(rid)["reason"]) == ("1", "")


def test_events_that_come_in_pieces_are_whole_or_absent(edge: Edge) -> None:
    """Each event in three chunks, `\\n\\n` split as well: the client never sees a torn one."""
    whole = [b'data: {"n": %d}\r\n\r\n' % n for n in range(400)]
    pieces = [part for text in whole for part in (text[:9], text[9:-1], text[-1:])]
    serve(edge, piece=lambda n: pieces[n], count=len(pieces), every=0.01)
    for chunks in (1, 2, 3, 4):
        with edge.client() as client:
            ask(client)
            head = b"".join(client.chunk() for _ in range(chunks))
            edge.revoke(TIE)
            body, ended = read(client)
        assert ended
        *before, last = events(head + body)
        assert [each["n"] for each in before] == list(range(len(before)))
        assert last["error"]["code"] == "revoked"


def test_a_stream_without_any_end_of_an_event_is_ended_all_the_same(edge: Edge) -> None:
    serve(edge, piece=lambda _: b"x" * 8000)
    with edge.client() as client:
        ask(client)
        edge.revoke(TIE)
        body, whole = read(client)
    assert whole and b'\n\ndata: {"error"' in body and len(body) < 65536 + 8000 * SOON


POISON = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison\n\n"


def test_nothing_follows_the_end_on_the_connection(edge: Edge) -> None:
    """What the model sends on must not become the answer to the request behind."""
    model = serve(edge, piece=lambda _: POISON)
    with edge.client() as client:
        ask(client)
        edge.revoke(TIE)
        client.send(message("GET", "/m/minilm/second"))
        assert read(client)[1]
        assert client.rest() == b""
    eventually(lambda: model.gone)


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
        edge.bump()
        body, whole = read(client)
    assert whole
    error = events(body)[-1]["error"]
    assert (error["code"], error["type"]) == ("revocations_unknown", "server_error")
    assert edge.line(rid)["reason"] == "revocations_unknown"
    eventually(lambda: model.gone)


@pytest.mark.parametrize(
    "words",
    [
        *(
            {"mw_ties": ties}
            for ties in ("", TIE[:-1], TIE.upper(), f"{TIE},{OTHER}", " ".join([OTHER] * 17))
        ),
        *({"mw_ends": ends} for ends in ("soon", "-1", "1e9", "1700000000.5", "")),
    ],
)
def test_a_decision_that_says_not_how_an_answer_ends_lets_none_begin(
    edge: Edge, words: dict[str, str]
) -> None:
    edge.decision.answer = lambda _: permit(**words)
    assert edge.request("POST", V1, body=b"{}").status == 503
    assert edge.seen() == []


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


_THROWS = {
    "endings": ["due", "boundary", "is_whole", "takes_event", "event", "rest_of_event", "sent", "cut"],
    "revoked": ["read", "holds", "any"],
    "hangup": ["on"],
    "sockets": ["read", "peer", "own", "last", "shut"],
    "refusals": ["quote", "shape"],
}


@pytest.mark.parametrize(("module", "name"), [(m, n) for m, names in _THROWS.items() for n in names])
def test_a_function_that_throws_lets_no_stream_go_on(module: str, name: str) -> None:
    """Each piece ends an event and begins one, so that there is something to look for."""
    with running(throwing(module, name)) as edge:
        model = serve(edge, piece=lambda _: b"\n\ndata: 1\ndata:")
        with edge.client() as client:
            client.send(message("POST", V1, body=b"{}"))
            if name not in ("due", "sent"):
                client.head()
                edge.revoke(TIE)
            rest = client.rest()
        assert (
            b'"code":"revoked"' not in rest and not rest.endswith(b"\r\n0\r\n\r\n")
        ) or b"revocations_unknown" in rest
        eventually(lambda: model.gone)
