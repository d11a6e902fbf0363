"""Each function of ours made to throw, or to lie: refused or right, and nobody gets another's answer."""

from __future__ import annotations

import json

import pytest
from edge_harness import Answer, Edge, Received, permit, refusal, running

_BODY = b'{"model":"minilm"}'


def _broken(name: str, how: str) -> object:
    head = f"function {name}("

    def script(text: str) -> str:
        before, found, after = text.partition(head)
        assert found, f"no function {name}"
        arguments, brace, rest = after.partition("{\n")
        return f"{before}{head}{arguments}{brace}    {how}\n{rest}"

    return script


def _by_caller(request: Received) -> Answer:
    fine = request.get("X-Mw-Authorization") == "Bearer ok"
    return permit() if fine else refusal(403, "no_grant", expires=30)


def _attack(edge: Edge) -> list[int]:
    """The permitted caller primes what can be shared, then others try. Returns the first one's statuses."""
    edge.decision.answer = _by_caller
    mine = []
    for _ in range(2):
        for path in ("/m/minilm/a", "/v1/a"):
            mine.append(edge.request("POST", path, "ok", body=_BODY).status)
            seen = len(edge.seen())
            for token in ("other", None, "o", "okk"):
                assert edge.request("POST", path, token, body=_BODY).status not in (200, 204), (path, token)
            assert len(edge.seen()) == seen
    return mine


_THROWS = {
    "key": {503},
    "cut": {503},
    "go": {503},
    "pick": {503},
    "send": {503},
    "refuse": {200},
    "v1": {200, 503},
    "outer": {200, 503},
    "resd": {200},
    "err": {200},
    "cause": {200},
    "shape": {200},
    "challenge": {200},
}


@pytest.mark.parametrize("name", _THROWS)
def test_a_function_that_throws_opens_nothing(name: str) -> None:
    with running(_broken(name, "throw new Error('x');")) as edge:  # type: ignore[arg-type]
        assert set(_attack(edge)) == _THROWS[name]
        for line in edge.lines():
            assert line["status"] in ("200", "503", "403", "401"), line


def test_the_digest_of_a_large_body_that_throws_opens_nothing() -> None:
    """It throws in a promise, after the permit."""
    with running(_broken("digested", "throw new Error('x');")) as edge:  # type: ignore[arg-type]
        large = json.dumps({"model": "minilm", "inputs": "x" * 20_000}).encode()
        assert edge.request("POST", "/m/minilm/a", "ok", body=large).status == 503
        assert edge.seen() == []


_LIES = {
    "undefined": "return undefined;",
    "null": "return null;",
    "nothing": "return '';",
    "a short hash": "return 'a';",
    "an upper-case hash": "return 'A'.repeat(64);",
    "a long hash": "return 'a'.repeat(65);",
    "two lines": "return 'a'.repeat(64) + '\\n';",
    "an object": "return {};",
    "a number": "return 1;",
}


@pytest.mark.parametrize("lie", _LIES)
def test_a_key_that_is_not_one_refuses_all(lie: str) -> None:
    with running(_broken("key", _LIES[lie])) as edge:  # type: ignore[arg-type]
        assert set(_attack(edge)) == {503}
        assert edge.decision.received == []


def test_a_filter_that_throws_breaks_the_answer_and_not_the_edge() -> None:
    with running(_broken("filter", "throw new Error('x');")) as edge:  # type: ignore[arg-type]
        with pytest.raises((OSError, ValueError)):
            edge.request("GET", "/m/minilm/a").json()
        assert edge.request("GET", "/m/minilm/a", "no").status == 403


@pytest.mark.parametrize(
    "lie",
    [
        "v.mw_target = '/secret x';",
        "v.mw_target = '';",
        "v.mw_target = 'secret';",
        "v.mw_target = 'slot01/x'; v.mw_sni = 'v2.minilm.td.test';",
        "v.mw_slot = '0';",
        "v.mw_slot = '00.evil';",
        "v.mw_sni = '';",
        "v.mw_sni = 'A';",
        "v.mw_reqd = '';",
        "v.mw_reqd = 'undefined';",
    ],
)
def test_a_choice_that_is_not_one_goes_nowhere(lie: str) -> None:
    def script(text: str) -> str:
        redirect = "    r.internalRedirect('@go');"
        assert redirect in text
        return text.replace(redirect, f"    {lie}\n{redirect}")

    with running(script) as edge:
        assert edge.request("GET", "/m/minilm/a").status in (502, 503)
        assert edge.seen() == []
