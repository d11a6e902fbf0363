"""POST /.meshward/control: passed on to the instance as it is, once, and only what nginx itself says of the caller."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from edge_harness import Answer, Edge, Server

PLACE = "/.meshward/control"
MANY = 10_000  # a slow machine takes more than sixty until some are too many at once
JSON = {"Content_Type": "application/json"}


@pytest.fixture
def control(edge: Edge) -> Iterator[Server]:
    server = Server(edge.loop, Path(edge.settings.control_socket))
    server.answer = lambda _: Answer(200, {"Content-Type": "application/json"}, b'{"done": {}}')
    server.start()
    yield server
    server.stop()


def test_the_body_goes_on_with_only_our_own_headers(edge: Edge, control: Server) -> None:
    spoofs = {
        "X_Mw_Addr": "192.0.2.1",
        "X_Mw_Authorization": "Bearer evil",
        "X_Mw_Verify": "SUCCESS",
        "Cookie": "a=b",
    }
    answer = edge.request("POST", PLACE, "ok", body=b'{"do": "history"}', **JSON, **spoofs)
    assert (answer.status, answer.json()) == (200, {"done": {}})
    (asked,) = control.received
    assert asked.line == f"POST {PLACE} HTTP/1.1" and asked.body == b'{"do": "history"}'
    names = sorted(name.lower() for name, _ in asked.headers)
    own = ["x-mw-authorization", "x-mw-verify", "x-mw-addr", "x-mw-rid"]
    assert names == sorted(["host", "connection", "content-type", "content-length", *own])
    assert (asked.get("X-Mw-Authorization"), asked.get("X-Mw-Verify")) == ("Bearer ok", "NONE")
    assert asked.get("X-Mw-Addr") == "127.0.0.1" and asked.get("X-Mw-Rid") == answer.get("X-Request-Id")
    assert edge.decision.received == [] and edge.seen() == []


def test_a_page_is_told_apart_whatever_it_claims(edge: Edge, control: Server) -> None:
    for origin in ("https://evil.test", "null", "https://models.test"):
        edge.request("POST", PLACE, "ok", body=b"{}", Origin=origin, **JSON)
    assert [asked.get("X-Mw-Origin") for asked in control.received] == ["1"] * 3


@pytest.mark.parametrize(
    "kind",
    ["text/plain", "application/json; charset=latin1", "application/jsonp", "text/plain; application/json"],
)
def test_another_type_is_never_passed_on_as_json(edge: Edge, control: Server, kind: str) -> None:
    edge.request("POST", PLACE, "ok", body=b"{}", Content_Type=kind)
    (asked,) = control.received
    assert asked.get("Content-Type") in (None, "")


def test_the_gate_stands_before_it(edge: Edge, control: Server) -> None:
    for method in ("GET", "HEAD", "PUT", "DELETE", "PATCH"):
        assert edge.request(method, PLACE, "ok").status == 405
    assert edge.request("OPTIONS", PLACE).status == 405
    assert edge.request("POST", PLACE, body=b"{}", Host="evil.test", **JSON).status == 421
    assert edge.request("POST", f"{PLACE}?access_token=x", body=b"{}", **JSON).status == 401
    assert edge.request("POST", PLACE, "ok", body=b"{}", Upgrade="websocket", **JSON).status == 400
    for other in (
        f"{PLACE}/",
        "/.meshward/contro%6c",
        "/.meshward//control",
        "/.meshward",
        "/.meshward/control.json",
    ):
        assert edge.request("POST", other, "ok", body=b"{}", **JSON).status in (400, 404)
    assert control.received == []


def test_a_body_that_is_too_large_stops_here(edge: Edge, control: Server) -> None:
    assert edge.request("POST", PLACE, "ok", body=b" " * (1 << 20), **JSON).status == 200
    assert edge.request("POST", PLACE, "ok", body=b" " * ((1 << 20) + 1), **JSON).status == 413
    assert len(control.received) == 1


def test_no_answer_is_kept_and_none_steers_the_edge(edge: Edge, control: Server) -> None:
    headers = {"X-Accel-Expires": "60", "Cache-Control": "max-age=60", "X-Accel-Redirect": "/m/minilm/embed"}
    control.answer = lambda _: Answer(200, headers, b"{}")
    for _ in range(2):
        assert edge.request("POST", PLACE, "ok", body=b"{}", **JSON).status == 200
    assert len(control.received) == 2 and edge.decision.received == []


def test_a_change_is_never_asked_for_twice(edge: Edge, control: Server) -> None:
    """The instance ends while it answers: the caller is told so, and nobody tries again."""

    async def nothing(_: asyncio.StreamWriter) -> None:
        """Hang up."""

    control.answer = lambda _: Answer(stream=nothing)
    answer = edge.request("POST", PLACE, "ok", body=b"{}", **JSON)
    assert answer.status == 503 and len(control.received) == 1


def test_an_instance_that_is_not_there_is_a_refusal_in_our_own_words(edge: Edge) -> None:
    answer = edge.request("POST", PLACE, "ok", body=b"{}", **JSON)
    assert answer.status == 503 and json.loads(answer.body)["layer"] == "edge"


def test_one_address_cannot_ask_without_end(edge: Edge, control: Server) -> None:
    statuses: list[int] = []
    with edge.client() as client:
        while len(statuses) < 60 or (429 not in statuses and len(statuses) < MANY):
            statuses.append(client.request("POST", PLACE, "no", body=b"{}", **JSON).status)
    assert set(statuses) == {200, 429} and len(control.received) == statuses.count(200)
