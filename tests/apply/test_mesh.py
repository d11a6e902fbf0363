"""What runs has one owner: one value, put in place of another by whoever has the turn, and by nobody else."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from meshward.apply.changes import Changes
from meshward.apply.counters import Counters, load_counters
from meshward.apply.mesh import Mesh, Running
from meshward.apply.revisions import STAGED, Revision
from meshward.kit import codes
from meshward.kit.errors import MeshwardError

UNKNOWN: Any = None
BEFORE = Running(UNKNOWN, UNKNOWN, Counters(revision=1, accepted=1, may_run={"1": ""}))
AFTER = replace(BEFORE, counters=Counters(revision=2))


@pytest.fixture
def mesh(tmp_path: Path) -> Mesh:
    made: Any = Mesh(SimpleNamespace(state=SimpleNamespace(path=tmp_path), run=_Run(tmp_path)), BEFORE)  # type: ignore[arg-type]
    made.attach(SimpleNamespace(stopping=False))
    return made  # type: ignore[no-any-return]


class _Run:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.changes = path / "changes.log"


def test_whoever_has_the_turn_swaps_all_of_it_at_once(mesh: Mesh) -> None:
    seen = mesh.running
    with mesh.turn():
        mesh.swap(AFTER)
    assert mesh.running is AFTER and seen == BEFORE, "who read it before reads on what was then"


def test_the_counters_name_a_revision_before_it_is_accepted(
    mesh: Mesh, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between the two, both may run; and what could not be recorded is named no more."""
    named = []

    def refuse(_: Revision) -> Revision:
        named.append(load_counters(tmp_path).may_run)
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(mesh.revisions, "accept", refuse)
    with pytest.raises(OSError, match="full"):
        mesh.accept(Revision(2, STAGED, "d2", 1, "ann", 1.5, ""))
    assert named == [{"1": "", "2": "d2"}] and load_counters(tmp_path).may_run == {"1": ""}


def test_nobody_swaps_it_without_the_turn(mesh: Mesh) -> None:
    with pytest.raises(RuntimeError, match="without the turn"):
        mesh.swap(AFTER)
    with mesh.turn():
        pass
    with pytest.raises(RuntimeError, match="without the turn"):
        mesh.swap(AFTER)  # it had the turn, and has it no more
    assert mesh.running == BEFORE


def test_another_ones_turn_is_nobodys_leave(mesh: Mesh) -> None:
    """A thread that takes no turn while another one has it would write over what that one puts in place."""
    with mesh.turn():
        assert isinstance(_in_a_thread(lambda: mesh.swap(AFTER)), RuntimeError)
        assert mesh.running == BEFORE
        mesh.swap(AFTER)
    assert mesh.running is AFTER


def test_a_turn_that_was_not_given_is_no_leave(mesh: Mesh, monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(_: object) -> None:
        raise MeshwardError(codes.NO_RIGHT, "no more")

    monkeypatch.setattr(Changes, "require_still", lost)
    with pytest.raises(MeshwardError), mesh.turn():
        raise AssertionError("the turn was given")
    with pytest.raises(RuntimeError):
        mesh.swap(AFTER)


def test_a_part_of_it_cannot_be_changed(mesh: Mesh) -> None:
    running: Any = mesh.running
    for name in ("live", "settings", "counters", "unsettled"):
        with pytest.raises(FrozenInstanceError):
            setattr(running, name, None)
    with pytest.raises(AttributeError):
        mesh.running = AFTER  # type: ignore[misc]
    with pytest.raises(AttributeError):
        mesh.live = UNKNOWN  # type: ignore[misc]


def _in_a_thread(work: Callable[[], None]) -> BaseException | None:
    raised = list[BaseException]()

    def run() -> None:
        try:
            work()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(60)
    return raised[0] if raised else None
