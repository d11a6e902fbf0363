"""Refusals of one identity: a few of a second have a line each, the others are counted, and none is lost."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from edge_harness import Answer, Edge, Received, Response, facts, message, permit, refusal, running, who

from meshward.audit.lines import EdgeLine, parse
from meshward.targets.nginx.log import FIELDS
from meshward.testing.waiting import eventually

MANY = 1000
MOST = 10  # `refusals_most` of an edge whose limit is met on a slow machine, too
TOLD = 5  # `refusals_told`


def known(answer: Answer, sub: str = "okta:ann", **more: str) -> Answer:
    """A refusal of somebody who is known."""
    return replace(answer, headers={**answer.headers, "X-Mw-Facts": facts(**more, sub=sub)})


def by_name(request: Received) -> Answer:
    """`Bearer <name>` is that person, who may use the model `minilm` alone."""
    name = (request.get("X-Mw-Authorization") or "").removeprefix("Bearer ")
    if request.get("X-Mw-Model") == "minilm":
        return permit(mw_facts=facts(sub=name))
    return known(refusal(403, "no_grant", "You may not.", expires=30), name)


@pytest.fixture
def edge(edge: Edge) -> Edge:
    edge.decision.answer = by_name
    return edge


@pytest.fixture(scope="module")
def _strict() -> Iterator[Edge]:
    with running(refusals_most=MOST) as edge:
        yield edge


@pytest.fixture
def strict(_strict: Edge) -> Edge:
    _strict.reset()
    _strict.decision.answer = by_name
    return _strict


def flood(edge: Edge, number: int, token: str, target: str = "/m/other/x", **more: Any) -> list[Response]:
    with edge.client() as client:
        return [client.request("POST", target, token, b"{}", **more) for _ in range(number)]


def lines_of(edge: Edge, name: str) -> list[EdgeLine]:
    """As the collector reads them."""
    raw = (edge.run / "access.log").read_bytes().splitlines()
    found = [line for each in raw for line in parse(each, "edge")]
    assert all(isinstance(line, EdgeLine) for line in found)
    return [line for line in found if isinstance(line, EdgeLine) and line.claims and line.claims.sub == name]


def total(lines: list[EdgeLine]) -> int:
    return sum(int(line.n or 1) for line in lines)


def settled(edge: Edge, name: str, number: int) -> list[EdgeLine]:
    """The lines about `name`, once they tell of so many requests."""
    eventually(lambda: total(lines_of(edge, name)) >= number, what="all lines")
    assert total(lines_of(edge, name)) == number
    return lines_of(edge, name)


def seconds(lines: list[EdgeLine]) -> int:
    return len({line.t.split(".")[0] for line in lines})


def test_a_thousand_refusals_of_one_identity_are_few_lines_that_add_up(edge: Edge) -> None:
    answers = flood(edge, MANY, "eve")
    lines = settled(edge, "eve", MANY)
    assert len(lines) <= (TOLD + 2) * seconds(lines), "in each second: the first, and two reasons"
    counted = [line for line in lines if line.n]
    assert len({(line.t.split(".")[0], line.reason) for line in counted}) == len(counted)
    statuses = Counter(answer.json()["error_type"] for answer in answers)
    assert statuses == {
        reason: sum(int(line.n or 1) for line in lines if line.reason == reason) for reason in statuses
    }


def test_an_answer_whose_line_is_missing_names_the_record_that_counts_it(edge: Edge) -> None:
    answers = flood(edge, 50, "ann")
    lines = {line.rid: line for line in settled(edge, "ann", 50)}
    named = Counter(answer.get("X-Counted-As") or answer.get("X-Request-Id") for answer in answers)
    assert named == {rid: int(line.n or 1) for rid, line in lines.items()}
    assert all(answer.status == 403 and answer.json()["error_type"] == "no_grant" for answer in answers)
    for line in edge.lines():
        assert list(line) == ["v", "hop", *FIELDS]
    example = next(line for line in lines.values() if line.n)
    assert (example.status, example.reason, example.layer) == ("403", "no_grant", "edge")
    assert example.ip == "127.0.0.1" and example.pid == lines[answers[0].get("X-Request-Id") or ""].pid


def test_beyond_a_limit_each_is_429_and_says_for_what(strict: Edge) -> None:
    answers = flood(strict, MANY, "mallory")
    late = next(answer for answer in answers if answer.status == 429)
    assert late.json()["error_type"] == "too_many_refusals" and "no_grant" in late.json()["error"]
    assert late.get("Retry-After") == "1" and late.get("WWW-Authenticate") is None
    first = answers.index(late)
    assert first >= MOST and all(answer.status == 403 for answer in answers[:MOST])


def test_what_the_same_identity_may_is_permitted_all_the_same(strict: Edge) -> None:
    """Her client may be broken; and each that passes has its line."""
    with strict.client() as client:
        while client.request("POST", "/m/other/x", "bo", b"{}").status != 429:
            pass
        allowed = [client.request("POST", "/m/minilm/x", "bo", b"{}") for _ in range(20)]
    assert {answer.status for answer in allowed} == {200}
    for answer in allowed:
        assert strict.line(answer.get("X-Request-Id"))["guard"]


def test_nobody_else_at_the_same_address_notices(strict: Edge) -> None:
    with strict.client() as client:
        while client.request("POST", "/m/other/x", "carl", b"{}").status != 429:
            pass
        others = [client.request("POST", "/m/other/x", f"person{n}", b"{}") for n in range(20)]
        assert client.request("POST", "/m/minilm/x", "dora", b"{}").status == 200
    assert {answer.status for answer in others} == {403}
    for answer in others:
        assert strict.line(answer.get("X-Request-Id"))["reason"] == "no_grant"


def test_one_identity_is_one_whatever_its_token_roles_and_models(edge: Edge) -> None:
    """Its name is read from the facts, which differ; a quote in it, or in what stands beside, ends it nowhere else."""
    names, number = {"Bearer t": 'o"ne\\', "Bearer u": 'o"ne'}, iter(range(1000))

    def answer(request: Received) -> Answer:
        more = {"ath": f"{next(number)}", "roles": ['"sub":"x"'], "z": '"sub":"y"'}
        name = names[request.get("X-Mw-Authorization") or ""]
        return known(refusal(403, "no_grant", "No."), name, **more)  # type: ignore[arg-type]

    edge.decision.answer = answer
    with edge.client() as client:
        for _ in range(60):
            for token in "tu":
                client.request("POST", "/m/other/x", token, b"{}")
    for name in names.values():
        lines = settled(edge, name, 60)
        assert len(lines) <= (TOLD + 1) * seconds(lines)


def at_v1(request: Received) -> Answer:
    """Known, and permitted where the body names the model."""
    return by_name(request) if request.get("X-Mw-Model") else known(who(), "v1")


def abort(edge: Edge, name: str) -> None:
    with edge.client() as client:  # leaves in the midst of its body
        client.send(message("POST", "/m/minilm/x", name, Content_Length="100") + b"{")


_KINDS: dict[str, tuple[Callable[[Received], Answer], str, bytes, dict[str, str], str]] = {
    "404": (lambda _: known(refusal(404, "model_unknown"), "404"), "/m/none/x", b"{}", {}, "model_unknown"),
    "401": (lambda _: known(refusal(401, "revoked"), "401"), "/m/minilm/x", b"{}", {}, "revoked"),
    "400": (at_v1, "/v1/x", b"{", {}, "body_model_missing"),
    "413": (
        lambda _: permit(mw_facts=facts(sub="413"), mw_route="1|100 00 v1.minilm.td.test"),
        "/m/minilm/x",
        b"{}",
        {},
        "body_too_large",
    ),
    "415": (by_name, "/m/minilm/x", b"{}", {"Content_Encoding": "gzip"}, "coding_unsupported"),
    "429": (
        lambda _: permit(mw_facts=facts(sub="429"), mw_limit="3r/m", mw_bucket="f" * 32),
        "/m/minilm/x",
        b"{}",
        {},
        "rate_limited",
    ),
}


@pytest.mark.parametrize("kind", _KINDS)
def test_every_kind_of_refusal_is_counted(edge: Edge, kind: str) -> None:
    answer, target, body, headers, reason = _KINDS[kind]
    edge.decision.answer = answer
    name = "v1" if kind == "400" else kind
    answers = [edge.request("POST", target, kind, body, **headers) for _ in range(60)]
    refused = [each for each in answers if each.status != 200]
    assert {
        (each.status, each.json().get("error_type") or each.json()["error"]["code"]) for each in refused
    } == {(int(kind), reason)}
    lines = [line for line in settled(edge, name, 60) if line.status != "200"]
    assert len(lines) <= (TOLD + 1) * seconds(lines) and total(lines) == len(refused)


def test_what_a_client_asks_for_makes_no_line_longer(edge: Edge) -> None:
    """Its target may have 8 kB, and stands in a line twice: as a path and as a model."""
    names = [f"/m/{'n' * 3000}{n}/x" for n in range(4)] + [f"/m/other/{'p' * 6000}{n}" for n in range(4)]
    for target in names:
        assert flood(edge, 1, "longwinded", target)[0].status == 403
    with edge.client() as client:
        client.send(message("POST", f"/m/minilm/{'q' * 6000}", "longwinded", Content_Length="100") + b"{")
    lines = settled(edge, "longwinded", len(names) + 1)
    assert max(len(line.text) for line in lines) < 1500
    assert all("..." in line.model + line.path for line in lines if not line.n)


def test_so_is_a_body_that_its_client_does_not_send(edge: Edge) -> None:
    """Nobody refuses it, and no guard sees it."""
    for _ in range(40):
        abort(edge, "leaver")
    lines = settled(edge, "leaver", 40)
    assert len(lines) <= (TOLD + 2) * seconds(lines) and not any(line.guard for line in lines)


def test_strangers_are_not_counted_here(edge: Edge) -> None:
    """The collector does it, from their lines; there is nobody whose refusals they are."""
    edge.decision.answer = lambda _: refusal(401, "token_expired")
    answers = flood(edge, 30, "x")
    assert {answer.get("X-Counted-As") for answer in answers} == {None}
    for answer in answers:
        assert edge.line(answer.get("X-Request-Id"))["reason"] == "token_expired"


@pytest.fixture
def crowded() -> Iterator[Edge]:
    def script(file: str, text: str) -> str:
        return text.replace("local ROWS = 1024", "local ROWS = 2").replace(
            "local IDENTITIES = 8192", "local IDENTITIES = 8"
        )

    with running(script) as edge:
        edge.decision.answer = by_name
        yield edge


def test_more_identities_than_there_is_room_for_lose_no_refusal(crowded: Edge) -> None:
    """Then a refusal has its line. What nginx holds does not grow with who there is."""
    with crowded.client() as client:
        for _ in range(20):
            for n in range(5):
                client.request("POST", "/m/other/x", f"one{n}", b"{}")
    for n in range(5):
        settled(crowded, f"one{n}", 20)


def next_second(edge: Edge) -> None:
    """Until a refusal of another second, before which what was counted is written."""
    first = flood(edge, 1, "other")[0].get("Date")
    eventually(lambda: flood(edge, 1, "other")[0].get("Date") != first)


def test_a_log_that_cannot_be_written_delays_a_count() -> None:
    with running() as edge:
        edge.decision.answer = by_name
        log, away = edge.run / "access.log", edge.run / "away"
        flood(edge, 30, "zoe")
        log.rename(away)
        log.symlink_to("/dev/full")
        next_second(edge)
        log.unlink()
        log.mkdir()
        flood(edge, 30, "zoe")
        next_second(edge)
        log.rmdir()
        away.rename(log)
        settled(edge, "zoe", 60)


def test_neither_a_reload_nor_an_end_of_nginx_loses_a_count() -> None:
    with running() as edge:
        edge.decision.answer = by_name
        assert edge.process
        flood(edge, 30, "yan")
        before = edge.workers()
        os.kill(edge.process.pid, signal.SIGHUP)
        eventually(lambda: edge.workers() and not before & edge.workers(), what="another worker")
        settled(edge, "yan", 30)
        flood(edge, 30, "yan")
        os.kill(edge.process.pid, signal.SIGTERM)
        edge.process.wait(60)
        settled(edge, "yan", 60)


def test_a_killed_worker_loses_no_more_than_it_had_counted_and_not_written() -> None:
    with running() as edge:
        edge.decision.answer = by_name
        flood(edge, 30, "kim")
        settled(edge, "kim", 30)
        next_second(edge)
        flood(edge, 30, "kim")
        (worker,) = edge.workers()
        os.kill(worker, signal.SIGKILL)
        eventually(lambda: edge.request("POST", "/m/other/x", "kim", b"{}").status == 403)
        eventually(lambda: total(lines_of(edge, "kim")) >= 30 + TOLD + 1, what="the last one's line")
        assert total(lines_of(edge, "kim")) <= 61
