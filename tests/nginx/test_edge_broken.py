"""Each function of ours made to throw: refused or right, and nobody gets another's decision or answer."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest
from edge_harness import Answer, Edge, NotStarted, Received, changed, permit, refusal, running, throwing, who

_BODY = b'{"model":"minilm"}'
_LARGE = b'{"model":"minilm","inputs":"' + b"x" * 40_000 + b'"}'


def _by_caller(request: Received) -> Answer:
    fine = request.get("X-Mw-Authorization") == "Bearer ok"
    if not fine:
        return refusal(403, "no_grant", expires=30)
    return permit() if request.get("X-Mw-Model") else who()


def _attack(edge: Edge) -> set[int]:
    """The permitted caller primes what can be shared, then others try. Returns the first one's statuses."""
    edge.decision.answer = _by_caller
    mine = set()
    for _ in range(2):
        for path, body in (("/m/minilm/a", _BODY), ("/v1/a", _BODY), ("/m/minilm/a?x", _LARGE)):
            mine.add(_status(edge, path, "ok", body))
            seen = len(edge.seen())
            for token in ("other", None, "o", "okk"):
                assert _status(edge, path, token, body) != 200, (path, token)
            assert len(edge.seen()) == seen
    return mine


def _status(edge: Edge, path: str, token: str | None, body: bytes) -> int:
    """0: the answer broke off, or no handshake came to an end."""
    try:
        return edge.request("POST", path, token, body=body).status
    except OSError:
        return 0


def _functions(module: str) -> list[str]:
    text = files("meshward.targets.nginx").joinpath("lua", f"{module}.lua").read_text()
    return re.findall(r"^(?:local )?function (?:M[.:])?(\w+)\(", text, re.MULTILINE)


# By module: what the permitted caller may meet where one of its functions throws. 200 stands where a function serves
# others than this caller: refusals, endings, large bodies, several versions.
_THROWS = {
    "page": {0, 503},
    "recent": {0, 503},
    "crowd": {0, 200, 503},
    "raw": {200, 503},
    "key": {200, 503},
    "gate": {503},
    "target": {503},
    "decision": {200, 503},
    "decisions": {200, 503},
    "body": {200, 503},
    **{each: {200, 503} for each in ("body_model", "plain_name")},
    **{f"json_{each}": {200, 503} for each in ("model", "key", "rows", "states")},
    "form_model": {200},
    "place": {200, 503},
    "pools": {200},
    "peer": {200},
    "digest": {0, 200, 503},
    "request": {200, 503},
    "answer": {0, 200},
    "endings": {0, 200},
    "revoked": {200},
    "hangup": {200},
    "held": {200},
    "sockets": {200},
    "refusals": {200},
    "counted": {200},
    "handshake": {0},
    "ended": {200},
    "clock": {200, 503},
    "overdue": {200, 503},
}
# What throws while nginx reads its file keeps it from starting.
_AT_THE_START = ("recent new", "json_rows ", "json_states ", "json_key ", "json_model ")
_EACH = [(module, name) for module in _THROWS for name in _functions(module)]


def test_every_module_is_here() -> None:
    modules = {
        each.name.removesuffix(".lua") for each in files("meshward.targets.nginx").joinpath("lua").iterdir()
    }
    assert modules - {"phases", "body_problems"} == set(_THROWS)
    assert len(_EACH) > 60


@pytest.mark.parametrize(("module", "name"), _EACH)
def test_a_function_that_throws_opens_nothing(module: str, name: str) -> None:
    try:
        with running(throwing(module, name), starts=False) as edge:
            assert _attack(edge) <= _THROWS[module]
            for line in edge.lines():
                assert line["status"] in ("200", "503", "403", "401", "500"), line
    except NotStarted:
        assert f"{module} {name}".startswith(_AT_THE_START)


def test_an_answer_whose_filter_throws_breaks_and_the_edge_does_not() -> None:
    with running(throwing("answer", "piece")) as edge:
        with pytest.raises((OSError, ValueError)):
            edge.request("GET", "/m/minilm/a").json()
        assert edge.request("GET", "/m/minilm/a", "no").status == 403


def test_a_throw_in_every_second_question_shares_no_answer() -> None:
    """What is kept for one key after a throw in the middle is nobody else's."""
    every_second = "COUNT = (COUNT or 0) + 1 if COUNT % 2 == 0 then error('x', 0) end"
    with running(changed("decision", "read", every_second)) as edge:
        edge.decision.answer = _by_caller
        for turn in range(12):
            token = "ok" if turn % 3 else "other"
            status = edge.request("POST", f"/m/minilm/{turn // 4}", token, body=_BODY).status
            assert status in ({200, 503} if token == "ok" else {403, 503})
