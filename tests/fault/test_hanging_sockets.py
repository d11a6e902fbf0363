"""A guard that does not answer on its socket: it costs itself alone, and never keeps the instance from stopping."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from meshward.apply.keys.inventory import load_failures
from meshward.apply.revisions import Revisions
from meshward.apply.unsettled import load_unsettled
from meshward.kit.errors import MeshwardError
from meshward.kit.exits import Exit
from meshward.plan.resolve import resolve
from meshward.policy.parse import to_json
from meshward.testing.waiting import DEADLINE
from tests.apply.test_live_changes import statuses
from tests.fault.test_refusing_hops import ending, moved
from tests.hostile.conftest import write_hostile
from tests.stack.asking import ask
from tests.stack.impostor import impostor, liar
from tests.stack.live import apply, policy_of
from tests.stack.running import Stack, eventually, running


@pytest.fixture(scope="module")
def stack(short_dir: Path) -> Iterator[Stack]:
    with running(short_dir, write_hostile) as started:
        yield started


@pytest.fixture
def text(stack: Stack) -> dict[str, Any]:
    """What runs, with every guard let back."""
    first: dict[str, Any] = json.loads(stack.policy.read_text())
    apply(stack, policy_of(first), allow=["widening"])
    assert not stack.status().shut
    return first


def admin_of(stack: Stack, model: str) -> Path:
    return stack.run / "guards" / stack.guard(model).slot / "admin.sock"


def shut_away_alone(stack: Stack) -> None:
    """m2's guard has ended; m1 serves."""
    (told,) = stack.status().shut
    assert "MW3080" in told and "the guard of m2/v1" in told
    assert [name for name in stack.processes() if "m2" in name] == []
    alice = stack.issuer.token("alice", ["users"])
    assert statuses(stack, alice, "/m/m1/v1/public") == [200]
    assert statuses(stack, alice, "/m/m2/v1/public")[0] in (502, 503)


def runs(stack: Stack, text: dict[str, Any]) -> bool:
    """Whether `text` is what was accepted last."""
    current = Revisions(stack.state).current()
    return current is not None and current.digest == resolve(policy_of(text)).digest


@contextmanager
def stopped(stack: Stack, model: str) -> Iterator[None]:
    guard = next(pid for name, pid in stack.processes().items() if model in name)
    os.kill(guard, signal.SIGSTOP)
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.kill(guard, signal.SIGCONT)


SILENT: dict[str, Callable[[Stack], AbstractContextManager[object]]] = {
    "an answer without end": lambda stack: impostor(admin_of(stack, "m2")),
    "what is no answer": lambda stack: impostor(admin_of(stack, "m2"), "[]"),
    "a guard that is stopped": lambda stack: stopped(stack, "m2"),
}


@pytest.mark.parametrize("silent", SILENT.values(), ids=SILENT)
def test_an_apply_shuts_it_away_and_goes_on(
    stack: Stack, text: dict[str, Any], silent: Callable[[Stack], AbstractContextManager[object]]
) -> None:
    said: list[str] = []
    with silent(stack):
        body = {"do": "apply", "policy": to_json(policy_of(moved(text))), "allow": ["widening"]}
        ask(stack.state, body, said.append)
        assert any("the guard of m2/v1 is shut away" in line for line in said), said
        assert runs(stack, moved(text))
        shut_away_alone(stack)
        assert statuses(stack, stack.issuer.token("alice", ["users"]), "/m/m1/v1/more") == [200]
    apply(stack, policy_of(moved(text)))
    eventually(
        lambda: statuses(stack, stack.issuer.token("alice", ["users"]), "/m/m2/v1/more") == [200],
        what="its open door, by the rules of now",
    )


def test_one_that_lies_alone_is_started_anew_and_the_change_goes_on(
    stack: Stack, text: dict[str, Any]
) -> None:
    """It says that it lacks what Envoy takes."""
    alice, before = stack.issuer.token("alice", ["users"]), stack.processes()
    with liar(admin_of(stack, "m2")):
        apply(stack, policy_of(moved(text)), allow=["widening"])
        assert runs(stack, moved(text)) and not stack.status().shut and load_unsettled(stack.state) is None
        eventually(lambda: statuses(stack, alice, "/m/m2/v1/more") == [200], what="the new one's open door")
    after = stack.processes()
    assert {name for name in before if after[name] != before[name]} == {
        name for name in before if "m2" in name
    }


def test_where_all_say_they_lack_something_all_go_back(stack: Stack, text: dict[str, Any]) -> None:
    before = stack.processes()
    with liar(admin_of(stack, "m1")), liar(admin_of(stack, "m2")):
        with pytest.raises(MeshwardError) as told:
            apply(stack, policy_of(moved(text)), allow=["widening"])
        assert told.value.exit_code is Exit.HOP_REFUSED and "guard of m2/v1" in told.value.message
        assert not runs(stack, moved(text)) and not stack.status().shut
        assert stack.processes() == before, "none of them was ended for it"
    eventually(lambda: load_unsettled(stack.state) is None, 100, "the end of it")


def test_who_is_being_started_again_is_not_waited_for(stack: Stack, text: dict[str, Any]) -> None:
    """It reads its files when it starts."""
    alice = stack.issuer.token("alice", ["users"])
    with ending(f"{stack.run}/given/guards/{stack.guard('m2').slot}/"):
        eventually(lambda: "m2/v1" not in "".join(stack.processes()), what="the end of it")
        apply(stack, policy_of(moved(text)), allow=["widening"])
        assert not stack.status().shut and statuses(stack, alice, "/m/m1/v1/more") == [200]
    eventually(lambda: statuses(stack, alice, "/m/m2/v1/more") == [200], what="its restart")


def test_a_renewal_shuts_it_away_and_all_others_have_theirs(stack: Stack, text: dict[str, Any]) -> None:
    def issued(model: str) -> bytes:
        return (stack.run / "given" / "guards" / stack.guard(model).slot / "xds" / "svid.json").read_bytes()

    before = issued("m1")
    with impostor(admin_of(stack, "m2")):
        ask(stack.state, {"do": "rotate", "what": "svids"}, lambda _: None)
    assert issued("m1") != before
    assert "svids" not in load_failures(stack.state)
    shut_away_alone(stack)


def test_the_instance_ends_while_it_hangs(stack: Stack, text: dict[str, Any]) -> None:
    def applies() -> None:
        with pytest.raises(MeshwardError):
            apply(stack, policy_of(moved(text)), allow=["widening"])

    applying = threading.Thread(target=applies)
    with impostor(admin_of(stack, "m1")) as hostile, impostor(admin_of(stack, "m2")):
        applying.start()
        hostile.asked()
        stack.process.send_signal(signal.SIGTERM)
        assert stack.process.wait(DEADLINE) == Exit.OK
        applying.join(DEADLINE)
    assert not applying.is_alive()
