"""A guard that refuses alone what Envoy takes is started anew; what may be true takes everything back."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from meshward.apply import guards as module
from meshward.apply.guards import Guards, Refusal
from meshward.apply.live_revision import Guard
from meshward.kit import codes
from meshward.kit.errors import MeshwardError
from meshward.runtime.machine import guard_name
from meshward.runtime.place.identities import starter

M1, M2 = ("m1/v1", 0), ("m2/v1", 1)


class Scene:
    """Two guards that are given something, what they and others say of it, and what was done."""

    def __init__(self, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.refusing: set[Guard] = {M2}
        self.readable, self.judged_good, self.lies_still = True, True, False
        self.did: list[str] = []
        run = SimpleNamespace(
            guard_given=lambda slot: place / str(slot), guard_dir=lambda slot: place / str(slot)
        )
        known = {guard_name(*guard): starter() for guard in (M1, M2)}
        machine: Any = SimpleNamespace(state=SimpleNamespace(path=place), run=run, known=known)
        self.guards = Guards(machine)
        self.guards.shut_away = lambda guard, _: self.did.append(f"{guard[0]} is shut away")
        monkeypatch.setattr(Guards, "switch", self._switch)
        monkeypatch.setattr(Guards, "judge", self._judge)
        monkeypatch.setattr(module, "can_execute_as", lambda *_: self.readable)
        monkeypatch.setattr(module, "end_strays_of", lambda _: self.did.append("strays end"))

    def _switch(self, guard: Guard, *_: object) -> None:
        if guard in self.refusing:
            raise Refusal(guard, ["its rules"])

    def _judge(self, _: object) -> None:
        if not self.judged_good:
            raise MeshwardError(codes.CONFIGURATION_REFUSED, "Envoy refuses it")

    def shut(self, name: str, _: str) -> None:
        self.did.append(f"{name} ends")

    def release(self, name: str) -> None:
        self.did.append(f"{name} starts")

    def arrival(self, *_: object) -> None:
        if self.lies_still:
            raise MeshwardError(codes.HOP_REFUSED, "not there")

    def give(self, *guards: Guard) -> None:
        files: Any = SimpleNamespace(xds={"rules": b"{}"}, versions={"rules": "d1"})
        supervisor: Any = self
        self.guards.switch_all(dict.fromkeys(guards, files), supervisor)


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(tmp_path, monkeypatch)


ANEW = [f"{guard_name(*M2)} ends", "strays end", f"{guard_name(*M2)} starts"]


def test_it_is_started_anew_and_then_runs_it(scene: Scene) -> None:
    scene.give(M1, M2)
    assert scene.did == ANEW and scene.guards.runs(M2, {"rules": "d1"})


def test_one_that_lies_still_is_shut_away_where_others_took_it(scene: Scene) -> None:
    scene.lies_still = True
    scene.give(M1, M2)
    assert scene.did == [*ANEW, "m2/v1 is shut away"] and not scene.guards.runs(M2, {"rules": "d1"})


def test_where_nobody_took_it_what_it_says_may_be_true(scene: Scene) -> None:
    scene.lies_still = True
    with pytest.raises(Refusal, match=r"m2/v1 .* refused: its rules"):
        scene.give(M2)
    assert scene.did == ANEW


def test_what_several_say_is_believed(scene: Scene) -> None:
    scene.refusing = {M1, M2}
    with pytest.raises(MeshwardError, match=r"m1/v1 .* refused: .*m2/v1 .* refused: "):
        scene.give(M1, M2)
    assert scene.did == []


def test_one_that_cannot_read_what_it_was_given_says_what_is_true(scene: Scene) -> None:
    scene.readable = False
    with pytest.raises(Refusal):
        scene.give(M1, M2)
    assert scene.did == []


def test_what_envoy_itself_refuses_ends_nobody(scene: Scene) -> None:
    scene.judged_good = False
    with pytest.raises(MeshwardError, match="Envoy refuses it"):
        scene.give(M1, M2)
    assert scene.did == []
