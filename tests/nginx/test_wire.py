"""What the decision service says in Python's words is what the Lua that nginx runs takes it for."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from edge_harness import GUARDS, Answer, Edge, Received, who
from hypothesis import given
from hypothesis import strategies as st

import meshward.targets.nginx
from meshward.callers.revocations import ties
from meshward.decide.types import Identity, Permit
from meshward.edge.answers import bucket
from meshward.edge.replies import Fault, Permitted, Refused, Reply, encode
from meshward.kit.reasons import Reason
from meshward.kit.secret import Secret
from meshward.plan.ir import Limits
from meshward.policy.values import Rate
from meshward.targets.nginx.wire import (
    QUESTION,
    Choice,
    Header,
    Slot,
    names_text,
    rate_text,
    route_text,
    times_text,
)

LUA = Path(meshward.targets.nginx.__file__).parent / "lua"
ALICE = Identity(issuer="corp", subject="alice", actors=("bot",))
PERMIT = Permit("m.infer", ("g",), "g", Limits(Rate(2, 1), None, None, "identity"), (), None)
TIES = ties(ALICE, "jti")


def permitted(**changes: Any) -> Permitted:
    values: dict[str, Any] = {
        "route": route_text(2_097_152, [Choice(1, Slot("00"), GUARDS[0])]),
        "times": times_text(60, 3600),
        "names": (),
        "rate": None,
        "bucket": bucket(PERMIT, ALICE),
        "token": Secret("aaa.bbb-_.ccc"),
        "ties": TIES,
        "ends_at": None,
        "facts": {"sub": "corp:alice", "e": "\u00e9"},
        "ttl": 4,
    }
    return Permitted(**values | changes)


def said(reply: Reply) -> Answer:
    status, headers = encode(reply)
    return Answer(status, {name.decode(): value.decode() for name, value in headers})


def test_lua_reads_every_word_of_an_answer_and_no_other() -> None:
    text = "".join(file.read_text() for file in LUA.rglob("*.lua"))
    asked = {*QUESTION, Header.RID, Header.NET, Header.ORIGIN}
    assert set(re.findall(r'said\["(x-mw-[a-z-]+)"\]', text)) == {
        each.lower() for each in set(Header) - asked
    }


def test_a_permit_is_read_as_it_is_spelled(edge: Edge) -> None:
    edge.decision.answer = lambda _: said(permitted(ends_at=4_000_000_000, rate=Rate(3, 60)))
    answers = [edge.request("POST", "/m/minilm/embed", body=b"{}") for _ in range(4)]
    assert [each.status for each in answers] == [200, 200, 200, 429], "counted, by the bucket"
    assert len(edge.decision.received) == 1, "kept"
    first, *_ = edge.seen()
    assert first.get("Txn-Token") == "aaa.bbb-_.ccc"
    assert edge.line(answers[0].get("X-Request-Id"))["guard"] == GUARDS[0]


def test_weights_are_read_as_they_are_spelled(edge: Edge) -> None:
    choices = [Choice(3, Slot("00"), GUARDS[0]), Choice(1, Slot("01"), GUARDS[1])]
    edge.decision.answer = lambda _: said(permitted(route=route_text(1000, choices)))
    with edge.client() as client:
        for _ in range(200):
            assert client.request("GET", "/m/minilm/x").status == 200
    assert 20 <= len(edge.guards[1].received) <= 85


NAMES = ["m", "org/Name v2", "nämé", "a+b", "100%|x", "tgi"]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_read_as_it_is_spelled(edge: Edge, name: str) -> None:
    edge.decision.answer = lambda _: said(permitted(names=NAMES))
    for asked, status in ((name, 200), (name + "x", 400)):
        body = json.dumps({"model": asked}).encode()
        assert edge.request("POST", "/m/minilm/v1/x", body=body).status == status


@pytest.mark.parametrize("called", ["Qwen/Q 3|\u00e9", "a+b", 'quo"te', "m"])
def test_a_servers_name_is_read_as_it_is_spelled(edge: Edge, called: str) -> None:
    route = route_text(1000, [Choice(1, Slot("00"), GUARDS[0], called)])
    edge.decision.answer = lambda _: said(permitted(route=route, names=["m"]))
    assert edge.request("POST", "/m/minilm/v1/x", body=b'{"x":1,"model":"m","y":[]}').status == 200
    assert json.loads(edge.seen()[0].body) == {"x": 1, "model": called, "y": []}


@pytest.mark.parametrize(
    "reply",
    [
        Refused(404, Reason.MODEL_UNKNOWN, "No such model."),
        Refused(403, Reason.NO_GRANT, "You may not.", 'Bearer scope="m.infer"', {"sub": "a"}, 4),
        Refused(401, Reason.TOKEN_EXPIRED, "It ended.", "Bearer"),
        Refused(503, Reason.AUDIT_BLIND, "No records."),
        Fault(500, Reason.DECISION_FAULT),
    ],
)
def test_a_refusal_is_read_as_it_is_spelled(edge: Edge, reply: Refused | Fault) -> None:
    edge.decision.answer = lambda _: said(reply)
    for _ in range(2):
        answer = edge.request("GET", "/m/minilm/x")
        if isinstance(reply, Fault):
            assert (answer.status, answer.json()["error_type"]) == (503, "decision_unavailable")
        else:
            assert (answer.status, answer.json()["error_type"]) == (reply.status, reply.reason)
            assert (answer.get("WWW-Authenticate") or "") == reply.challenge or not reply.challenge
    assert len(edge.decision.received) == (1 if isinstance(reply, Refused) and reply.ttl else 2)


def test_who_is_this_is_read_as_it_is_spelled(edge: Edge) -> None:
    def answer(request: Received) -> Answer:
        return said(permitted()) if request.get("X-Mw-Model") else who()

    edge.decision.answer = answer
    assert edge.request("POST", "/v1/x", body=b'{"model":"minilm"}').status == 200


@given(st.text().filter(lambda text: not re.search("[\ud800-\udfff]", text)))
def test_a_name_is_one_word_that_reads_back(name: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9._~%-]*", names_text([name])) and unquote(names_text([name])) == name


@pytest.mark.parametrize(
    ("rate", "text"), [(Rate(10, 1), "10r/s"), (Rate(600, 60), "600r/m"), (Rate(5, 1), "5r/s"), (None, "")]
)
def test_a_rate_has_one_spelling(rate: Rate | None, text: str) -> None:
    assert rate_text(rate) == text


@pytest.mark.parametrize("seconds", [3600, 86400])
def test_a_rate_that_nginx_cannot_count_has_none(seconds: int) -> None:
    with pytest.raises(ValueError, match="per second or minute"):
        rate_text(Rate(10, seconds))


def test_no_other_module_spells_a_header() -> None:
    root = Path(meshward.targets.nginx.__file__).parents[2]
    strangers = {"targets/envoy"}  # a guard's own words to clients
    found = {
        str(file.relative_to(root)): hits
        for file in root.rglob("*.py")
        if file.name != "wire.py" and not any(each in str(file) for each in strangers)
        if (hits := re.findall(r"""["']b?x-mw-\w+["']""", file.read_text(), re.IGNORECASE))
    }
    assert found == {}
