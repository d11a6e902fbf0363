"""The decision and its cache: nobody gets another's, nothing outlives its epoch, every fault is closed."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from edge_harness import (
    DOMAIN,
    Answer,
    Edge,
    Received,
    eventually,
    held,
    message,
    permit,
    refusal,
    running,
)

from meshward.apply.edge_page import page_bytes


def test_the_decision_is_asked_exactly_what_the_contract_says(edge: Edge) -> None:
    edge.request(
        "POST",
        "/m/a:b@c/v1/x?y=1&z",
        body=b"{}",
        X_Mw_Model="other",
        X_Mw_Path="/secret",
        X_Mw_Authorization="Bearer root",
    )
    (asked,) = edge.decision.received
    assert asked.line == "GET /decide HTTP/1.1"
    assert dict(asked.headers) == {
        "Host": "decide",
        "X-Mw-Authorization": "Bearer ok",
        "X-Mw-Method": "POST",
        "X-Mw-Model": "a%3Ab%40c",
        "X-Mw-Path": "/v1/x",
        "X-Mw-Front": "m",
        "X-Mw-Addr": "127.0.0.1",
        "X-Mw-Verify": "NONE",
    }
    assert asked.body == b""


def test_an_answer_is_kept_for_the_same_question_only(edge: Edge) -> None:
    """One input of the key at a time: the same caller's, and another's."""
    first = ("POST", "/m/minilm/embed", "ok")
    others = [
        ("POST", "/m/minilm/embed", "ok2"),
        ("POST", "/m/minilm/embed", "o"),
        ("POST", "/m/minilm/embed", None),
        ("GET", "/m/minilm/embed", "ok"),
        ("PUT", "/m/minilm/embed", "ok"),
        ("POST", "/m/minilm/embedd", "ok"),
        ("POST", "/m/minilm/embed/", "ok"),
        ("POST", "/m/minilm/", "ok"),
        ("POST", "/m/minilm2/embed", "ok"),
        ("POST", "/m/m/inilm/embed", "ok"),
        ("POST", "/m/minilm/Embed", "ok"),
    ]
    with edge.client() as client:
        ids = [client.request(*first).get("X-Request-Id") for _ in range(3)]
        assert len(edge.decision.received) == 1
        assert [edge.line(name)["cache"] for name in ids] == ["MISS", "HIT", "HIT"]
        client.request("POST", "/m/minilm/embed?other=query", "ok")
        assert len(edge.decision.received) == 1, "a query is no input of the decision"
        for number, other in enumerate(others):
            client.request(*other)
            assert len(edge.decision.received) == 2 + number, other
    asked = {tuple(sorted(r.headers)) for r in edge.decision.received}
    assert len(asked) == len(edge.decision.received), "two different entries for one question"


def test_a_permit_reaches_no_other_route_and_no_other_token(edge: Edge) -> None:
    """D01: prime an allow, then ask for what is refused, in every way that shares something with it."""

    def only_public(request: Received) -> Answer:
        allowed = (request.get("X-Mw-Path"), request.get("X-Mw-Authorization")) == ("/public", "Bearer ok")
        return permit() if allowed else refusal(403, "no_grant", expires=30)

    edge.decision.answer = only_public
    with edge.client() as client:
        for _ in range(2):
            assert client.request("GET", "/m/minilm/public").status == 200
            assert client.request("GET", "/m/minilm/secret").status == 403
            assert client.request("GET", "/m/minilm/public", "ok2").status == 403
            assert client.request("GET", "/m/minilm/public", "OK").status == 403
    assert {r.target for r in edge.seen()} == {"/public"}


def test_another_address_is_another_question(edge: Edge) -> None:
    """A condition may read it, and the service is told it, so it is in the key."""
    edge.decision.answer = lambda r: (
        permit() if r.get("X-Mw-Addr") == "127.0.0.1" else refusal(403, "no_grant")
    )
    for source, status in (("127.0.0.1", 200), ("127.0.0.2", 403), ("127.0.0.1", 200)):
        with edge.client(source=source) as client:
            assert client.request("GET", "/m/minilm/a").status == status
    assert len(edge.decision.received) == 2


def test_v1_and_m_do_not_share_an_answer(edge: Edge) -> None:
    body = b'{"model":"v1"}'
    edge.request("POST", "/m/v1/v1/embeddings", body=body)
    edge.request("POST", "/v1/embeddings", body=body)
    assert [(r.get("X-Mw-Front"), r.get("X-Mw-Path")) for r in edge.decision.received] == [
        ("m", "/v1/embeddings"),
        ("v1", "/v1/embeddings"),  # who is it?
        ("v1", "/v1/embeddings"),
    ]


def test_a_new_epoch_is_seen_by_the_very_next_request(edge: Edge) -> None:
    with edge.client() as client:
        for turn in range(20):
            allowed = turn % 2 == 0
            edge.decision.answer = lambda _, a=allowed: (
                permit() if a else refusal(403, "no_grant", expires=30)
            )  # type: ignore[misc]
            edge.bump()
            assert client.request("GET", "/m/minilm/a").status == (200 if allowed else 403)
            assert client.request("GET", "/m/minilm/a").status == (200 if allowed else 403)
    assert len(edge.decision.received) == 20


_NO_PAGES = {
    "zero": page_bytes(0, 1),
    "empty": b"",
    "short": page_bytes(7, 1)[:-1],
    "long": page_bytes(7, 1) + b"\0",
    "a number in words": b"7\n",
}


@pytest.mark.parametrize("junk", _NO_PAGES)
def test_without_an_epoch_nobody_passes_and_with_it_all_is_well_again(edge: Edge, junk: str) -> None:
    with edge.client() as client:
        assert client.request("GET", "/m/minilm/a").status == 200
        edge.replace_page(_NO_PAGES[junk])
        refused = client.request("GET", "/m/minilm/a")
        assert (refused.status, refused.json()["error_type"]) == (503, "decision_unavailable")
        edge.replace_page()
        assert client.request("GET", "/m/minilm/a").status == 200
    assert len(edge.seen()) == 2


def test_an_epoch_of_zero_in_the_page_that_is_mapped_closes_and_another_page_opens(edge: Edge) -> None:
    with edge.client() as client:
        assert client.request("GET", "/m/minilm/a").status == 200
        edge.page.close()
        assert client.request("GET", "/m/minilm/a").status == 503
        edge.replace_page()
        assert client.request("GET", "/m/minilm/a").status == 200


@pytest.mark.parametrize("size", [0, 8, 4095, 8192])
def test_a_page_that_is_cut_or_grows_under_the_workers_closes_and_kills_none(edge: Edge, size: int) -> None:
    with edge.client() as client:
        assert client.request("GET", "/m/minilm/a").status == 200
        os.truncate(edge.page.path, size)
        assert client.request("GET", "/m/minilm/a").status == 503
        edge.replace_page()
        assert client.request("GET", "/m/minilm/a").status == 200, (
            "by the same worker, on the same connection"
        )


def test_a_page_that_is_gone_closes(edge: Edge) -> None:
    with edge.client() as client:
        assert client.request("GET", "/m/minilm/a").status == 200
        edge.page.path.unlink()
        assert client.request("GET", "/m/minilm/a").status == 503
        assert client.request("POST", "/v1/a", body=b'{"model":"minilm"}').status == 503
        edge.replace_page()
        assert client.request("GET", "/m/minilm/a").status == 200
    assert len(edge.seen()) == 2 and len(edge.decision.received) == 2


def test_a_page_that_was_carried_off_closes_though_it_still_says_what_it_said(edge: Edge) -> None:
    """It keeps a name, so a worker sees it only when it looks for its own: once in a millisecond.

    Who is served in that one has an answer that breaks off when the next has come, and its connection with it.
    """
    with edge.client() as first, edge.client() as second:
        clients = [first, second]

        def status() -> int:
            try:
                return clients[-1].request("GET", "/m/minilm/a").status
            except OSError:
                clients.pop()
                return 0

        assert status() == 200
        edge.page.path.rename(edge.page.path.with_name("elsewhere"))
        eventually(lambda: status() == 503)
        client = clients[-1]
        served = len(edge.seen())
        assert client.request("GET", "/m/minilm/a").status == 503
        assert len(edge.seen()) == served
        edge.replace_page()
        assert client.request("GET", "/m/minilm/a").status == 200


def test_a_page_in_the_place_of_the_mapped_one_is_the_one_that_counts(edge: Edge) -> None:
    """As after a backup was put back: the old page still says what it said."""
    with edge.client() as client:
        assert client.request("GET", "/m/minilm/a").status == 200
        edge.decision.answer = lambda _: refusal(403, "no_grant")
        edge.replace_page()
        assert client.request("GET", "/m/minilm/a").status == 403


_FAULTS = {
    "500": Answer(500, {"X-Mw-Ttl": "0"}),
    "503 that asks to be kept": Answer(503, {"X-Mw-Ttl": "30"}),
    "302": Answer(302, {"Location": "/", "X-Mw-Ttl": "0"}),
    "400": Answer(400),
    "404": Answer(404),
    "429": Answer(429),
    "headers too big": permit(mw_facts="a" * 20000),
    "no route": permit(mw_route=""),
    "no token": permit(mw_txn_token=""),
    "a route without versions": permit(mw_route="1000"),
    "a broken size": permit(mw_route=f"1k|100 00 v1.minilm.{DOMAIN}"),
    "a broken weight": permit(mw_route=f"1000|x 00 v1.minilm.{DOMAIN}|1 01 b"),
    "weights of nothing": permit(mw_route=f"1000|0 00 v1.minilm.{DOMAIN}|0 01 v2.minilm.{DOMAIN}"),
    "a broken slot": permit(mw_route=f"1000|1 000 v1.minilm.{DOMAIN}"),
    "a slot with a path": permit(mw_route=f"1000|1 00/x v1.minilm.{DOMAIN}"),
    "a slot beyond the last": permit(mw_route=f"1000|1 99 v1.minilm.{DOMAIN}"),
    "no name": permit(mw_route="1000|1 00"),
    "a broken name": permit(mw_route="1000|1 00 A_B"),
    "a limit that no zone has": permit(mw_limit="7r/s"),
    "a limit without a bucket": permit(mw_limit="2r/s", mw_bucket=""),
    "a limit with a broken bucket": permit(mw_limit="2r/s", mw_bucket="x"),
    "401 without words": Answer(401),
    "403 without words": Answer(403),
}


@pytest.mark.parametrize("fault", _FAULTS)
def test_a_decision_that_is_not_one_opens_nothing(edge: Edge, fault: str) -> None:
    edge.decision.answer = lambda _: _FAULTS[fault]
    answer = edge.request("POST", "/m/minilm/a", body=b"{}")
    assert answer.status in (401, 403, 502, 503), answer
    assert answer.json()["layer"] in ("edge", "guard")
    assert edge.seen() == []


def test_a_decision_that_is_not_http_opens_nothing() -> None:
    """nginx takes it for the beginning of an answer, until its patience ends."""
    with running(patient=False) as edge:
        edge.decision.answer = lambda _: Answer(raw=b"HELLO\r\n\r\n")
        answer = edge.request("POST", "/m/minilm/a", body=b"{}")
        assert (answer.status, answer.json()["layer"]) == (503, "edge")
        assert edge.seen() == []


@pytest.mark.parametrize("raw", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\nX-Mw-Ro"])
def test_a_decision_cut_short_opens_nothing(edge: Edge, raw: bytes) -> None:
    async def cut(writer: asyncio.StreamWriter) -> None:
        writer.write(raw)
        await writer.drain()

    edge.decision.answer = lambda _: Answer(stream=cut)
    assert edge.request("GET", "/m/minilm/a").status == 503
    assert edge.seen() == []


def test_no_decision_service_closes_and_its_return_opens(edge: Edge) -> None:
    assert edge.request("GET", "/m/minilm/a").status == 200
    edge.decision.stop()
    try:
        assert edge.request("GET", "/m/minilm/a").status == 200, "an answer that was given stands"
        refused = edge.request("GET", "/m/minilm/b")
        assert (refused.status, refused.json()["error_type"]) == (503, "decision_unavailable")
        assert refused.get("Retry-After") == "1"
        edge.bump()
        assert edge.request("GET", "/m/minilm/a").status == 503, "nothing stale under a new epoch"
    finally:
        edge.decision.start()
    assert edge.request("GET", "/m/minilm/b").status == 200
    assert [r.target for r in edge.seen()] == ["/a", "/a", "/b"]


def test_a_slow_decision_closes_and_is_not_kept() -> None:
    go = threading.Event()
    with running(patient=False) as edge:
        edge.decision.answer = lambda _: held(permit(), go)
        assert edge.request("GET", "/m/minilm/a").status == 503
        go.set()
        assert edge.seen() == []


def test_an_answer_that_says_zero_or_nothing_is_not_kept(edge: Edge) -> None:
    for expires in ("0", None):
        edge.reset()
        headers = {name: value for name, value in permit().headers.items() if name != "X-Mw-Ttl"}
        edge.decision.answer = lambda _, e=expires, h=headers: Answer(
            200, {**h, **({"X-Mw-Ttl": e} if e else {})}
        )  # type: ignore[misc]
        for _ in range(3):
            assert edge.request("GET", "/m/minilm/a").status == 200
        assert len(edge.decision.received) == 3


def test_an_answer_ends_when_it_said(edge: Edge) -> None:
    edge.decision.answer = lambda _: permit(mw_ttl="1")
    with edge.client() as client:
        client.request("GET", "/m/minilm/a")
        edge.decision.answer = lambda _: refusal(403, "no_grant")
        eventually(lambda: client.request("GET", "/m/minilm/a").status == 403)
        assert client.request("GET", "/m/minilm/a").status == 403


def test_two_callers_at_once_get_their_own(edge: Edge) -> None:
    """A slow first decision, many waiters of two kinds: each gets what was decided for it."""

    def slowly(request: Received) -> Answer:
        fine = request.get("X-Mw-Authorization") == "Bearer ok"
        answer = permit() if fine else refusal(403, "no_grant", expires=30)
        return Answer(answer.status, answer.headers, delay=0.1)

    edge.decision.answer = slowly
    with ThreadPoolExecutor(12) as pool:
        tokens = ["ok", "other"] * 12
        found = list(pool.map(lambda token: edge.request("GET", "/m/minilm/a", token).status, tokens))
    assert found == [200, 403] * 12


def test_tokens_that_are_no_plain_text_are_asked_about_by_nobody(edge: Edge) -> None:
    with edge.client() as client:
        for byte in (b"\xe9", b"\xff", b"\xef\xbf\xbd"):
            client.send(message("GET", "/m/minilm/a", "ok").replace(b"Bearer ok", b"Bearer ok" + byte))
            answer = client.response()
            assert (answer.status, answer.json()["error_type"]) == (401, "token_malformed")
    assert edge.decision.received == []


def test_statuses_that_only_a_header_can_say(edge: Edge) -> None:
    for status, reason in (
        (404, "model_unknown"),
        (429, "budget"),
        (400, "bad"),
        (403, "no_grant"),
        (401, "token_expired"),
    ):
        edge.reset()
        edge.decision.answer = lambda _, s=status, r=reason: refusal(s, r, "Words.")  # type: ignore[misc]
        answer = edge.request("GET", "/m/minilm/a")
        assert (answer.status, answer.json()["error_type"], answer.get("X-Error-Message")) == (
            status,
            reason,
            "Words.",
        )
    assert edge.seen() == []


def test_cold_questions_are_limited_per_address_and_warm_ones_are_not() -> None:
    with running(cold_rate="1r/m", cold_burst=4) as edge, edge.client() as client:
        found = [client.request("GET", f"/m/minilm/{n}").status for n in range(8)]
        assert found == [200] * 5 + [429] * 3
        refused = client.request("GET", "/m/minilm/9")
        assert refused.json()["error_type"] == "cold_rate_limited" and refused.get("Retry-After") == "1"
        assert [client.request("GET", "/m/minilm/0").status for _ in range(20)] == [200] * 20
        assert len(edge.decision.received) == 5


def test_the_permits_facts_are_logged_as_they_came(edge: Edge) -> None:
    line = edge.line(edge.request("GET", "/m/minilm/a").get("X-Request-Id"))
    assert json.loads(base64.urlsafe_b64decode(line["facts"] + "==")) == {
        "sub": "okta:ann",
        "model": "minilm",
    }


def test_metadata_is_for_everybody_by_get(edge: Edge) -> None:
    document = {"resource": "https://models.test"}
    edge.decision.answer = lambda _: Answer(
        200, {"Content-Type": "application/json"}, json.dumps(document).encode()
    )
    place = "/.well-known/oauth-protected-resource"
    for path in (place, f"{place}/m/minilm"):
        for _ in range(3):
            answer = edge.request("GET", f"{path}?access=1", token=None)
            assert (answer.status, answer.json()) == (200, document)
    assert [r.line for r in edge.decision.received] == [
        *[f"GET {place} HTTP/1.1"] * 3,
        *[f"GET {place}/m/minilm HTTP/1.1"] * 3,
    ]
    assert edge.request("POST", place, body=b"{}").status == 405
    edge.decision.answer = lambda _: Answer(404)
    missing = edge.request("GET", f"{place}/m/none")
    assert (missing.status, missing.json()["error_type"]) == (404, "route_unknown")
    edge.decision.answer = lambda _: Answer(500)
    assert edge.request("GET", f"{place}/m/none2").status == 503
    assert edge.request("GET", f"{place}x").status == 404
    assert edge.seen() == []


def test_whoami_asks_anew_each_time_and_hands_on_no_header_of_the_clients(edge: Edge) -> None:
    place = "/.well-known/meshward/whoami"
    edge.decision.answer = lambda r: Answer(
        200, {"X-Mw-Ttl": "30"}, (r.get("X-Mw-Authorization") or "").encode()
    )
    for token in ("ok1", "ok2", "ok1"):
        answer = edge.request("GET", place, token, X_Mw_Addr="1.2.3.4", X_Mw_Model="m", Cookie="a")
        assert (answer.status, answer.body) == (200, b"Bearer " + token.encode())
    assert [r.line for r in edge.decision.received] == [f"GET {place} HTTP/1.1"] * 3
    for asked in edge.decision.received:
        assert asked.get("X-Mw-Addr") == "127.0.0.1"
        assert asked.get("X-Mw-Model") is None and asked.get("Cookie") is None
    assert edge.request("POST", place, body=b"{}").status == 405
    assert edge.seen() == []
