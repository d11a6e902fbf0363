"""On one connection: no request has another's values, and no byte of a body is ever the next request."""

from __future__ import annotations

import base64
import contextlib
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import pytest
from edge_harness import GUARDS, Answer, Edge, Received, held, message, permit, refusal, running, who

from meshward.targets.nginx import program


def test_one_requests_values_are_never_anothers_on_one_connection(edge: Edge) -> None:
    def answer(request: Received) -> Answer:
        token = request.get("X-Mw-Authorization") or ""
        model = request.get("X-Mw-Model")
        if "no" in token:
            return refusal(403, "no_grant", seen=403)
        if model is None:
            return who()
        return permit(mw_facts=base64.urlsafe_b64encode(f"{token} {model}".encode()).decode().rstrip("="))

    edge.decision.answer = answer
    with edge.client() as client:
        for turn in range(3):
            for token, path, body, facts in (
                ("ok1", "/m/one/a", None, "Bearer ok1 one"),
                ("no1", "/m/one/a", None, ""),
                ("ok2", "/v1/x", b'{"model":"two"}', "Bearer ok2 two"),
                ("ok1", f"/m/three/{turn}?q", b"body", "Bearer ok1 three"),
                (None, "/.well-known/oauth-protected-resource", None, ""),
            ):
                got = client.request("POST" if body else "GET", path, token, body)
                line = edge.line(got.get("X-Request-Id"))
                read = base64.urlsafe_b64decode(line["facts"] + "==").decode()
                assert read == facts, (token, path, line)
                assert (line["guard"] == GUARDS[0]) == (got.status == 200 and bool(facts))
                assert line["reason"] == "" or got.status != 200


# --- bodies that nobody read --------------------------------------------------------------------------------------

EVIL = message("GET", "/m/evil/x", "ok")


@dataclass(frozen=True)
class Case:
    """How a status comes about: a request whose body is `EVIL`, and what stands around it."""

    target: str = "/m/minilm/x"
    token: str = "ok"
    method: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    before: Callable[[Edge], None] = lambda _: None
    after: Callable[[Edge], None] = lambda _: None
    keeps: bool = True  # whether nginx keeps the connection


def _answers(answer: Answer) -> Callable[[Edge], None]:
    def before(edge: Edge) -> None:
        edge.decision.answer = lambda r: answer if r.get("X-Mw-Path") == "/x" else permit()

    return before


def _silent(edge: Edge) -> None:
    edge.guard.answer = lambda r: held(Answer(200), threading.Event()) if r.target == "/x" else Answer(200)


def _limited(edge: Edge) -> None:
    limited = permit(mw_limit="3r/m", mw_bucket="a" * 32)
    edge.decision.answer = lambda r: limited if r.get("X-Mw-Path") == "/x" else permit()
    while edge.request("GET", "/m/minilm/x").status == 200:
        pass


CASES: dict[str, Case] = {
    "400": Case("/m//x", keeps=False),
    "400 upgrade": Case(headers={"Upgrade": "x"}, keeps=False),
    "401 of the gate": Case(target="/m/minilm/x?access_token=a"),
    "401": Case(before=_answers(refusal(401, "token_expired"))),
    "403": Case(before=_answers(refusal(403, "no_grant"))),
    "404": Case("/nothing"),
    "404 of the decision": Case(before=_answers(refusal(404, "model_unknown"))),
    "405": Case(method="BREW"),
    "413 of a model": Case(before=_answers(permit(mw_route=f"10|1 00 {GUARDS[0]}")), keeps=False),
    "413": Case(headers={"Content_Length": "300000"}, keeps=False),
    "414": Case("/m/minilm/" + "a" * 9000, keeps=False),
    "415": Case(headers={"Content_Encoding": "gzip"}),
    "421": Case(headers={"Host": "other"}),
    "429": Case(before=_limited),
    "429 of the decision": Case(before=_answers(refusal(429, "cold_rate_limited"))),
    "431": Case(headers={"A": "x" * 9000}, keeps=False),
    "501": Case(headers={"Transfer_Encoding": "x"}, keeps=False),
    "502": Case(before=lambda edge: edge.guard.stop(), after=lambda edge: edge.guard.start()),
    "503": Case(before=lambda edge: edge.page.close(), after=lambda edge: edge.replace_page()),
    "503 of the decision": Case(before=_answers(Answer(500)), keeps=False),
    "504": Case(before=_silent),
}


def test_every_status_that_the_edge_sends_is_here() -> None:
    """But 408: nginx waits half a minute for a body, then ends the connection."""
    assert {int(name[:3]) for name in CASES} == {*program._ANSWERS, 503} - {408}


FRAMES = {
    "length": ({"Content_Length": str(len(EVIL))}, EVIL),
    "chunks": ({"Transfer_Encoding": "chunked"}, b"%x\r\n%b\r\n0\r\n\r\n" % (len(EVIL), EVIL)),
}


@pytest.fixture(scope="module")
def _hurried() -> Iterator[Edge]:
    with running(longest_timeout=3) as edge:
        yield edge


@pytest.fixture
def refusing(edge: Edge, _hurried: Edge, name: str) -> Edge:
    """An edge that waits for guards, but where the case is that it does not."""
    _hurried.reset()
    return _hurried if name == "504" else edge


@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize("method", ["POST", "HEAD"])
@pytest.mark.parametrize("name", CASES)
def test_the_body_of_a_refused_request_is_never_the_next_request(
    refusing: Edge, name: str, method: str, frame: str
) -> None:
    """Also of a HEAD, whose answer has no body itself (CVE-2024-33452)."""
    case, (headers, body) = CASES[name], FRAMES[frame]
    case.before(refusing)
    refusing.guard.received.clear()
    refusing.decision.received.clear()
    method = case.method or method
    with refusing.client() as client:
        head = message(method, case.target, case.token, None, **{**headers, **case.headers})
        client.send(head + body)
        refused = client.response(method)
        assert refused.status == int(name[:3])
        case.after(refusing)
        if case.keeps:
            answer = client.request("GET", "/m/minilm/after")
            assert answer.status == 200
            assert refusing.line(answer.get("X-Request-Id"))["path"] == "/after"
        else:
            assert refused.get("Connection") == "close"
            with contextlib.suppress(OSError):  # it may be closed already
                client.send(message("GET", "/m/minilm/after"))
                socket.socket.shutdown(client.socket, socket.SHUT_WR)
            assert client.rest() == b""
    assert not [asked for asked in refusing.decision.received if asked.get("X-Mw-Model") == "evil"]
    assert all(seen.target == "/after" or seen.body == EVIL for seen in refusing.seen())
