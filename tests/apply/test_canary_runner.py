"""Walks among other changes: what somebody else did meanwhile stands, and a fault of one walk is none of the others."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from meshward.apply.live_revision import LiveRevision
from meshward.apply.traffic import canary_runner, weights
from meshward.apply.traffic.canary import Canary
from meshward.apply.traffic.traffic import Traffic
from meshward.apply.traffic.weights import with_traffic
from meshward.callers.revocations import Revoked
from meshward.kit import codes
from meshward.kit.errors import MeshwardError
from meshward.kit.exits import Exit
from meshward.plan.resolve import resolve
from meshward.policy.schema import Policy
from tests.apply.versions import write_two
from tests.stack.live import policy_of
from tests.stack.running import eventually

WALK = Canary("m1", "v2", "alice", {"v1": 100}, (5, 25), 600, 1.0, 20, 0.0)


@pytest.fixture
def policy(tmp_path: Path) -> Policy:
    write_two(tmp_path / "jwks.json", 443, tmp_path)
    return policy_of(json.loads((tmp_path / "policy.yaml").read_text()))


class Mesh:
    """`live` is another one each time that it is looked at, as long as there are more."""

    def __init__(self, state: Path, *stands: LiveRevision) -> None:
        self.machine = SimpleNamespace(state=SimpleNamespace(path=state))
        self.supervisor = SimpleNamespace(stopping=False)
        self.require_running: Callable[[], None] = lambda: None
        self.note: Callable[..., None] = lambda *_, **__: None
        self.stands = list(stands)
        self.revoked = Revoked()

    @property
    def live(self) -> LiveRevision:
        return self.stands.pop(0) if len(self.stands) > 1 else self.stands[0]


def test_weights_that_changed_since_the_look_are_not_overwritten(
    policy: Policy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = LiveRevision(policy, resolve(policy), 7, {})
    theirs = with_traffic(policy, "m1", {"v1": 1, "v2": 1})
    traffic: Any = Traffic(
        Mesh(tmp_path, seen, replace(seen, policy=theirs, plan=resolve(theirs), revision=8))
    )
    based = list[int | None]()
    monkeypatch.setattr(weights, "apply", lambda _, __, wish, ___: based.append(wish.base))
    monkeypatch.setattr(canary_runner, "_observe", lambda *_: None)
    canary_runner._look(traffic, WALK)
    assert based == [7], "the transaction refuses it: revision 8 runs by now"


def test_a_fault_of_one_walk_ends_neither_the_thread_nor_the_others(
    policy: Policy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    traffic: Any = Traffic(Mesh(tmp_path, LiveRevision(policy, resolve(policy), 7, {})))
    looked = set[str]()

    def look(_: object, walk: Canary) -> None:
        looked.add(walk.model)
        if walk.model == "broken":
            raise KeyError("m1/v2")

    monkeypatch.setattr(canary_runner, "_look", look)
    canary_runner.begin_canary(traffic, replace(WALK, model="broken"))
    eventually(lambda: "broken" in traffic.canaries.says, what="what it says")
    canary_runner.begin_canary(traffic, WALK)
    eventually(lambda: "m1" in looked, what="a look at the other one")
    assert "KeyError" in traffic.canaries.says["broken"]
    traffic.mesh.supervisor.stopping = True
    traffic.canaries.runner.join(60)
    assert not traffic.canaries.runner.is_alive()


def test_none_begins_before_the_instance_runs(policy: Policy, tmp_path: Path) -> None:
    """Its thread would have nothing to look at, end, and never be started again."""
    traffic: Any = Traffic(Mesh(tmp_path, LiveRevision(policy, resolve(policy), 7, {})))

    def starting() -> None:
        raise MeshwardError(codes.CONFLICT, "the instance is still starting", "", exit_code=Exit.CONFLICT)

    traffic.mesh.require_running = starting
    with pytest.raises(MeshwardError):
        canary_runner.begin_canary(traffic, WALK)
    assert traffic.canaries.of("m1") is None and traffic.canaries.runner is None
