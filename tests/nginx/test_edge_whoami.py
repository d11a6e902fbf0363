"""/.well-known/meshward/whoami: the decision service's own answer, for the bearer alone."""

from __future__ import annotations

import json

from edge_harness import Answer, Edge, Received, running

PLACE = "/.well-known/meshward/whoami"
MANY = 10_000  # a slow machine takes more than forty until some are too many at once


def echo(request: Received) -> Answer:
    """Tells who asked, and would like to be kept for good."""
    told = json.dumps({"identity": request.get("X-Mw-Authorization")}).encode()
    headers = {"Content-Type": "application/json", "X-Accel-Expires": "60", "Cache-Control": "max-age=60"}
    return Answer(200, headers, told)


def test_only_the_bearer_and_the_address_are_passed_on(edge: Edge) -> None:
    edge.decision.answer = echo
    answer = edge.request(
        "GET", f"{PLACE}?x=1", "ok", X_Mw_Addr="192.0.2.1", X_Mw_Authorization="Bearer evil", Cookie="a=b"
    )
    assert (answer.status, answer.json()) == (200, {"identity": "Bearer ok"})
    (asked,) = edge.decision.received
    assert asked.line == f"GET {PLACE} HTTP/1.1"
    names = sorted(name.lower() for name, _ in asked.headers)
    assert names == sorted(
        ["host", "x-mw-authorization", "x-mw-method", "x-mw-path", "x-mw-front", "x-mw-addr", "x-mw-rid"]
    )
    assert asked.get("X-Mw-Addr") == "127.0.0.1" and asked.get("X-Mw-Rid") == answer.get("X-Request-Id")
    assert edge.seen() == []


def test_no_answer_is_kept_whatever_it_says(edge: Edge) -> None:
    edge.decision.answer = echo
    for token in ("a", "b", "a"):
        assert edge.request("GET", PLACE, token).json() == {"identity": f"Bearer {token}"}
    assert len(edge.decision.received) == 3


def test_a_refusal_passes_with_its_challenge(edge: Edge) -> None:
    body = {"error": "No.", "error_type": "token_expired", "request_id": "r", "layer": "edge"}
    headers = {"Content-Type": "application/json", "WWW-Authenticate": 'Bearer error="invalid_token"'}
    edge.decision.answer = lambda _: Answer(401, headers, json.dumps(body).encode())
    answer = edge.request("GET", PLACE)
    assert (answer.status, answer.json()) == (401, body)
    assert answer.get("WWW-Authenticate") == 'Bearer error="invalid_token"' and answer.get("X-Request-Id")


def test_the_gate_stands_before_it(edge: Edge) -> None:
    assert edge.request("POST", PLACE, body=b"{}").status == 405
    assert edge.request("GET", PLACE, Host="evil.test").status == 421
    assert edge.request("GET", f"{PLACE}?access_token=x").status == 401
    assert edge.request("GET", PLACE, "ok", Upgrade="websocket").status == 400
    assert edge.request("GET", f"{PLACE}/").status == 404
    assert edge.request("GET", "/.well-known/meshward/%77hoami").status == 400
    assert edge.decision.received == []


def test_without_the_decision_service_it_is_a_fault() -> None:
    with running() as edge:
        edge.decision.stop()
        answer = edge.request("GET", PLACE)
        assert (answer.status, answer.json()["error_type"]) == (503, "decision_unavailable")


def test_an_address_may_ask_a_few_times() -> None:
    with running() as edge:
        edge.decision.answer = echo
        with edge.client() as client:
            found: list[int] = []
            while len(found) < 40 or (429 not in found and len(found) < MANY):
                found.append(client.request("GET", PLACE).status)
        assert found[:10] == [200] * 10 and set(found) == {200, 429}
        assert len(edge.decision.received) == found.count(200)
