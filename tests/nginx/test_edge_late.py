"""A body that takes its time: what was decided before it came is not used where it ended meanwhile."""

from __future__ import annotations

import json

import pytest
from edge_harness import (
    GUARDS,
    Answer,
    Client,
    Edge,
    Received,
    changed,
    message,
    permit,
    refusal,
    running,
    who,
)

from meshward.testing.waiting import eventually

BODY = json.dumps({"model": "minilm", "input": "x"}).encode()
TARGETS = ["/m/minilm/embed", "/v1/embeddings"]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("permitted", [True, False])
@pytest.mark.parametrize("remembered", [True, False])
def test_who_may_is_decided_anew_where_a_revision_came_before_the_body_did(
    edge: Edge, target: str, permitted: bool, remembered: bool
) -> None:
    if remembered:
        assert edge.request("POST", target, body=BODY).status == 200
    with edge.client() as client:
        data = message("POST", target, "ok", BODY)
        _send_all_but_the_end(edge, client, data)
        if not permitted:
            edge.decision.answer = lambda _: refusal(403, "no_grant")
        edge.bump()
        edge.guard.received.clear()
        client.send(data[-1:])
        assert client.response().status == (200 if permitted else 403)
    assert len(edge.seen()) == permitted


def _send_all_but_the_end(edge: Edge, client: Client, data: bytes) -> None:
    client.send(data[:-1])
    asked = len(edge.decision.received)
    with edge.client() as other:  # a later request that was answered: the one worker has read the first
        assert other.request("GET", "/m/minilm/look").status == 200
    eventually(lambda: asked or len(edge.decision.received) > 1)


def test_certificates_may_change_twice_while_the_body_comes(edge: Edge) -> None:
    with edge.client() as client:
        data = message("POST", "/m/minilm/embed", "ok", BODY)
        _send_all_but_the_end(edge, client, data)
        first = edge.generation
        edge.rotate()
        edge.rotate()
        (edge.run / f"certs/edge.{first}.pem").unlink()
        client.send(data[-1:])
        assert client.response().status == 200


def test_an_upgrade_without_a_value_is_one(edge: Edge) -> None:
    edge.guard.answer = lambda _: Answer(
        raw=b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nTUNNEL"
    )
    answer = edge.raw(
        b"GET /m/minilm/a HTTP/1.1\r\nHost: models.test\r\nAuthorization: Bearer ok\r\n"
        b"Upgrade:\r\nConnection: upgrade\r\n\r\n"
    )
    assert b" 400 " in answer and b"TUNNEL" not in answer
    assert edge.seen() == []


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("permitted", [True, False])
def test_a_credential_that_ended_before_the_body_came_is_asked_about_anew(
    edge: Edge, target: str, permitted: bool
) -> None:
    """A decision is good for so long; a caller who sends slowly makes it good for no longer."""
    edge.decision.answer = lambda request: permit(mw_ttl="0") if request.get("X-Mw-Model") else who()
    with edge.client() as client:
        data = message("POST", target, "ok", BODY)
        _send_all_but_the_end(edge, client, data)
        if not permitted:
            edge.decision.answer = lambda _: refusal(401, "token_expired")
        edge.guard.received.clear()
        asked = len(edge.decision.received)
        client.send(data[-1:])
        assert client.response().status == (200 if permitted else 401)
    assert len(edge.seen()) == permitted
    assert len(edge.decision.received) == asked + 1


def test_a_decision_that_is_still_good_when_the_body_came_is_used(edge: Edge) -> None:
    with edge.client() as client:
        data = message("POST", "/m/minilm/embed", "ok", BODY)
        _send_all_but_the_end(edge, client, data)
        asked = len(edge.decision.received)
        client.send(data[-1:])
        assert client.response().status == 200
    assert len(edge.decision.received) == asked


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("permitted", [True, False])
@pytest.mark.parametrize("work", ["model", "rename", "digest"])
def test_who_may_is_decided_anew_where_a_revision_came_while_the_body_was_worked_on(
    work: str, permitted: bool, target: str
) -> None:
    """Large bodies are worked on one after the other, so that where there are many each waits for long."""
    paused = """
        local at = require("settings").page
        local file = assert(io.open(at .. ".found", "a"))
        file:write("x")
        file:close()
        while not io.open(at .. ".go") do ngx.sleep(0.01) end
    """

    def answer(request: Received) -> Answer:
        served = permit(mw_names="minilm", mw_route=f"1000000|1 00 {GUARDS[0]} mine")
        return served if request.get("X-Mw-Model") else who()

    with running(changed("body", work, paused)) as edge:
        edge.decision.answer = answer
        with edge.client() as client:
            client.send(message("POST", target, "ok", BODY))
            eventually((edge.run / "page.found").exists)
            if not permitted:
                edge.decision.answer = lambda _: refusal(403, "no_grant")
            edge.bump()
            edge.put("page.go", "")
            assert client.response().status == (200 if permitted else 403)
        assert [json.loads(each.body)["model"] for each in edge.seen()] == ["mine"] * permitted
        assert (edge.run / "page.found").read_text() == "x", "what was done is not done again"
