"""A hop whose socket answers without end: it costs itself alone, and never keeps the instance from stopping."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from meshward.apply.keys.inventory import load_failures
from meshward.kit.errors import MeshwardError
from meshward.kit.exits import Exit
from meshward.testing.waiting import DEADLINE
from tests.apply.test_live_changes import statuses
from tests.fault.test_refusing_hops import moved
from tests.hostile.conftest import write_hostile
from tests.stack.asking import ask
from tests.stack.impostor import Impostor, impostor
from tests.stack.live import apply, policy_of
from tests.stack.running import Stack, running


@pytest.fixture(scope="module")
def stack(short_dir: Path) -> Iterator[Stack]:
    with running(short_dir, write_hostile) as started:
        yield started


@pytest.fixture(scope="module")
def taken(stack: Stack) -> Iterator[Impostor]:
    """The admin socket of m2's guard, taken over. Its listener still serves, by the rules that it has."""
    with impostor(stack.run / "guards" / stack.guard("m2").slot / "admin.sock") as hostile:
        yield hostile


@pytest.fixture
def text(stack: Stack) -> dict[str, Any]:
    first: dict[str, Any] = json.loads(stack.policy.read_text())
    return first


def test_an_apply_names_it_and_all_others_go_back(
    stack: Stack, taken: Impostor, text: dict[str, Any]
) -> None:
    with pytest.raises(MeshwardError) as told:
        apply(stack, policy_of(moved(text)), allow=["widening"])
    assert told.value.exit_code is Exit.HOP_REFUSED and "guard of m2/v1" in told.value.message
    assert "did not answer within" in told.value.message and "m1/v1" not in told.value.message
    alice = stack.issuer.token("alice", ["users"])
    assert statuses(stack, alice, "/m/m1/v1/public", "/m/m2/v1/public") == [200, 200]


def test_renewal_names_it_and_all_others_have_theirs(stack: Stack, taken: Impostor) -> None:
    def issued(model: str) -> bytes:
        return (stack.run / "given" / "guards" / stack.guard(model).slot / "xds" / "svid.json").read_bytes()

    before = issued("m1")
    with pytest.raises(MeshwardError) as told:
        ask(stack.state, {"do": "rotate", "what": "svids"}, lambda _: None)
    assert "guard of m2/v1" in told.value.message and "m1/v1" not in told.value.message
    assert issued("m1") != before
    assert "m2/v1" in load_failures(stack.state)["svids"].why
    assert any("m2/v1" in line for line in stack.status().lines()), "status says whom it waits for"


def test_the_instance_ends_while_it_hangs(stack: Stack, taken: Impostor, text: dict[str, Any]) -> None:
    def applies() -> None:
        with pytest.raises(MeshwardError):
            apply(stack, policy_of(moved(text)), allow=["widening"])

    applying = threading.Thread(target=applies)
    with impostor(stack.run / "guards" / stack.guard("m1").slot / "admin.sock") as other:
        applying.start()
        other.asked()
        stack.process.send_signal(signal.SIGTERM)
        assert stack.process.wait(DEADLINE) == Exit.OK
        applying.join(DEADLINE)
    assert not applying.is_alive()
