"""What reaches a recorder is written down as it came, and its answers are what a client reads."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from meshward.testing.recorder import Recorder, Stream, json_answer, openai_event


@pytest.fixture
def model(short_dir: Path) -> Iterator[Recorder]:
    with closing(Recorder(short_dir / "model.sock")) as made:
        yield made


def asked(model: Recorder, body: bytes | Iterable[bytes] | None = None) -> tuple[int, str | None, bytes]:
    connection = http.client.HTTPConnection("model", timeout=60)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(str(model.path))
    with closing(connection):
        connection.request("POST", "/embed?q=%2F", body, {"X-Twice": "a"}, encode_chunked=True)
        response = connection.getresponse()
        return response.status, response.headers["Content-Type"], response.read()


@pytest.mark.parametrize("body", [b"hello", [b"hel", b"lo"]], ids=["of a length", "in chunks"])
def test_a_request_is_written_down_as_it_came(model: Recorder, body: bytes | list[bytes]) -> None:
    assert asked(model, body)[0] == 200
    (request,) = model.taken()
    assert (request.method, request.target, request.body) == ("POST", "/embed?q=%2F", b"hello")
    assert request.header("x-twice") == ["a"] and request.header("authorization") == []
    assert model.taken() == [], "each is told once"


def test_it_answers_what_it_is_told_to(model: Recorder) -> None:
    assert asked(model) == (200, "application/json", b'{"ok": true, "path": "/embed?q=%2F"}')
    model.answer = json_answer({"error": "busy"}, status=503)
    assert asked(model) == (503, "application/json", b'{"error": "busy"}')
    model.answer = Stream(openai_event, count=3, every=0)
    status, kind, body = asked(model)
    assert (status, kind, body.count(b"data: ")) == (200, "text/event-stream", 3)


def test_others_may_not_connect(model: Recorder) -> None:
    assert model.path.stat().st_mode & 0o777 == 0o660


def test_one_that_is_closed_waits_for_nobody_any_more(short_dir: Path) -> None:
    """Its socket's number is soon another's: stopped and continued, it would take what comes there."""
    closed = Recorder(short_dir / "closed.sock")
    closed.close()
    closed.close()
    assert not closed._accepting.is_alive() and not closed.path.exists()
