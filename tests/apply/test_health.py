"""Versions whose servers are ill: who is judged to be, what the edge does, and that they come back."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshward.apply.traffic.ejected import load_ejected
from meshward.apply.traffic.health import BAD, GOOD, LONGEST, Health, judge_health
from meshward.testing.recorder import plain_answer
from tests.apply.versions import PATH, shown, spread, write_two
from tests.stack import policies
from tests.stack.asking import ask
from tests.stack.live import apply, policy_of
from tests.stack.running import Stack, eventually, running


def looked(looks: list[tuple[bool, bool]]) -> list[tuple[bool, bool]]:
    """Who is out after each look at two versions, a second apart."""
    known: dict[str, Health] = {}
    found = []
    for now, (one, two) in enumerate(looks):
        known = judge_health(known, {"m/v1": one, "m/v2": two}, float(now))
        found.append((known["m/v1"].is_out, known["m/v2"].is_out))
    return found


def test_two_bad_looks_eject_and_three_good_ones_return() -> None:
    ill, well = (True, False), (True, True)
    assert looked([well, ill, well, ill, well])[-1] == (False, False), "one bad look is none"
    found = looked([well, ill, ill, well, well, well, well])
    assert [out for _, out in found] == [False, False, True, True, True, False, False]


def test_the_last_one_is_never_ejected() -> None:
    assert looked([(False, False)] * 9)[-1] == (False, False)
    found = looked([(True, False)] * 3 + [(False, False)] * 9)
    assert found[2] == (False, True) and found[-1] == (False, True)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=200, max_size=400))
def test_never_both_and_never_without_cause(looks: list[tuple[bool, bool]]) -> None:
    found = looked(looks)
    assert (True, True) not in found
    for now in range(1, len(found)):
        for version in (0, 1):
            if found[now][version] and not found[now - 1][version]:
                assert not any(looks[at][version] for at in range(now - BAD + 1, now + 1))
            if found[now - 1][version] and not found[now][version]:
                assert all(looks[at][version] for at in range(now - GOOD + 1, now + 1))


def test_flapping_is_bounded() -> None:
    """A version that is ill whenever it is let in: it comes back ever more rarely, and at last once a minute."""
    known: dict[str, Health] = {}
    returns = []
    for now in range(1000):
        was = known.get("m/v2", Health()).is_out
        known = judge_health(known, {"m/v1": True, "m/v2": was}, float(now))
        if was and not known["m/v2"].is_out:
            returns.append(now)
    pauses = [after - before for before, after in pairwise(returns)]
    assert pauses == sorted(pauses) and pauses[0] < 15 and LONGEST <= pauses[-1] <= LONGEST + 5
    assert len(returns) < 25


# --- a whole instance


@pytest.fixture(scope="module")
def stack(short_dir: Path) -> Iterator[Stack]:
    with running(short_dir, write_checked) as started:
        yield started


def write_checked(jwks: Path, port: int, directory: Path) -> dict[str, Path]:
    """As `write_two`; the servers have a health route."""
    sockets = write_two(jwks, port, directory)
    text = json.loads((directory / "policy.yaml").read_text())
    text["servers"]["twofaced"]["health"] = "GET /health"
    policies.write(directory, text)
    return sockets


def live(stack: Stack) -> list[str]:
    found: list[str] = json.loads((stack.run / "given" / "decide" / "live.json").read_text())["ejected"]
    return found


def out(stack: Stack) -> list[str]:
    """Those of which the edge has said that it decides without them: written last."""
    return list(load_ejected(stack.state))


def test_an_ejected_version_gets_nothing_over_applies_too_and_comes_back(stack: Stack) -> None:
    alice = stack.issuer.token("alice", ["users"])
    assert stack.command("traffic", "m1", "v1=1", "v2=1").returncode == 0
    assert min(spread(stack, alice, 40).values()) > 5
    revision = stack.instance.revision
    guard = next(pid for name, pid in stack.processes().items() if name.endswith("m1-v2"))
    os.kill(guard, signal.SIGSTOP)
    try:
        eventually(lambda: out(stack) == ["m1/v2"], what="the ejection")
        assert stack.instance.revision == revision, "the policy did not change"
        assert spread(stack, alice, 40) == {"v1": 40, "v2": 0}
        told = shown(stack)
        assert told["weights"] == {"v1": 1, "v2": 1}
        assert told["ejected"] == {"v2": "its guard cannot be asked: it did not answer within 2 s"}
        assert "m1/v2: EJECTED, its guard cannot be asked" in stack.command("status").stdout
        assert "EJECTED" in stack.command("traffic", "m1").stdout
        text = json.loads(stack.policy.read_text())
        text["models"]["m1"]["traffic"] = {"v1": 1, "v2": 1}
        text["models"]["m1"]["task"] = "any"  # no guard is asked for it: this one would not answer
        apply(stack, policy_of(text))
        assert live(stack) == ["m1/v2"] and spread(stack, alice, 20) == {"v1": 20, "v2": 0}
    finally:
        os.kill(guard, signal.SIGCONT)
    eventually(lambda: out(stack) == [], what="the return")
    assert min(spread(stack, alice, 40).values()) > 5
    assert shown(stack)["ejected"] == {}
    assert "EJECTED" not in stack.command("status").stdout


def test_a_version_whose_server_is_gone_costs_no_more_requests_once_it_is_ejected(stack: Stack) -> None:
    """The guard itself finds out, by the server's health route."""
    alice = stack.issuer.token("alice", ["users"])
    assert stack.command("traffic", "m1", "v1=1", "v2=1").returncode == 0
    server = stack.models["m1/v2"]
    server.answer = lambda _, connection: connection.shutdown(socket.SHUT_RDWR)

    def asked_until_out() -> list[str]:
        stack.call("GET", PATH, alice)
        return out(stack)

    eventually(asked_until_out, what="the ejection")
    assert out(stack) == live(stack) == ["m1/v2"]
    assert {stack.call("GET", PATH, alice).status for _ in range(40)} == {200}
    assert "no healthy server behind its guard" in shown(stack)["ejected"]["v2"]
    server.answer = plain_answer
    eventually(lambda: out(stack) == [], what="the return")
    assert min(spread(stack, alice, 40).values()) > 5


def test_a_walk_watches_the_health_of_a_version_that_has_all_the_traffic(stack: Stack) -> None:
    """Nobody calls, so no request can tell; and there is no rival for whose sake it would be ejected."""
    assert stack.command("traffic", "m1", "v1=1", "v2=0").returncode == 0
    walk = {"version": "v2", "steps": [100], "every": 600, "bound": 1.0, "least": 20}
    ask(stack.state, {"do": "traffic", "model": "m1", **walk}, lambda _: None)
    eventually(lambda: shown(stack)["weights"] == {"v1": 0, "v2": 100}, what="the step")
    stack.models["m1/v2"].answer = lambda _, connection: connection.shutdown(socket.SHUT_RDWR)
    try:
        eventually(lambda: shown(stack)["walk"]["over"], what="the way back")
    finally:
        stack.models["m1/v2"].answer = plain_answer
    told = shown(stack)
    assert told["walk"]["state"] == "walked back" and "no healthy server" in told["walk"]["why"], told
    assert told["weights"] == {"v1": 1, "v2": 0}
