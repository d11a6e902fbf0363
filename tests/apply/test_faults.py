"""What nobody foresaw, in the middle of a change: the way back is taken, and every hop has its chance."""

from __future__ import annotations

import sys
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from meshward.apply import transaction, vendor_validation
from meshward.apply.mesh import Running
from meshward.apply.revisions import STAGED, Revision
from meshward.apply.unsettled import Unsettled
from meshward.kit import codes
from meshward.kit.errors import MeshwardError, run_all
from meshward.kit.exits import Exit

REVISION = Revision(2, STAGED, "d", 1, "alice", 0.0, "")


class Switcher:
    def __init__(self, fault: Exception) -> None:
        self.fault, self.went_back = fault, 0

    def forward(self, *_: object) -> None:
        raise self.fault

    def back(self, _: object) -> list[str]:
        self.went_back += 1
        return []


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (MeshwardError(codes.HOP_REFUSED, "a guard refused"), "a guard refused"),
        (OSError(28, "No space left"), "a file could not be written"),
        (ValueError("no number"), "ValueError"),  # of an epoch file that is damaged, say
        (KeyError("guard-01"), "KeyError"),
    ],
)
def test_whatever_goes_wrong_leads_back_and_is_recorded(
    monkeypatch: pytest.MonkeyPatch, fault: Exception, says: str
) -> None:
    switcher, refused = Switcher(fault), list[str]()
    revisions = SimpleNamespace(refuse=lambda _, why: refused.append(why))
    unknown: Any = None
    before: Any = SimpleNamespace(reloads=False)
    runs = Running(unknown, unknown, unknown, unsettled=Unsettled(0.0, "a guard hangs", ""), way_back=before)
    mesh: Any = SimpleNamespace(switcher=lambda: switcher, revisions=revisions, running=runs)
    mesh.unsettle = lambda *what: setattr(mesh, "running", replace(runs, unsettled=what[0], way_back=what[1]))
    monkeypatch.setattr(transaction, "_follow_hostname", lambda *_: None)
    switch: Any = SimpleNamespace(new=None, old=None)
    with pytest.raises(MeshwardError) as told:
        transaction._carry_out(mesh, switch, REVISION, lambda _: None)
    assert switcher.went_back == 1 and len(refused) == 1 and says in refused[0]
    assert told.value.exit_code is Exit.HOP_REFUSED and says in told.value.message
    assert mesh.running == replace(runs, unsettled=None, way_back=None), "the way back was confirmed"


def test_a_judge_that_hangs_is_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vendor_validation, "_TIMEOUT", 0.2)
    with pytest.raises(MeshwardError, match="no verdict") as told:
        vendor_validation._judge("the edge", [sys.executable, "-c", "import time; time.sleep(60)"])
    assert told.value.exit_code is Exit.HOP_REFUSED


def test_a_judges_words_may_be_no_text() -> None:
    """It names STATE, whose path may be any bytes."""
    script = r"import sys; sys.stderr.buffer.write(b'/s\xff refused'); sys.exit(1)"
    with pytest.raises(MeshwardError, match="/s\ufffd refused") as told:
        vendor_validation._judge("the edge", [sys.executable, "-c", script])
    assert told.value.code is codes.CONFIGURATION_REFUSED


def test_every_step_is_taken_and_all_that_failed_are_named() -> None:
    done = list[str]()

    def step(name: str, fault: Exception | None = None) -> Any:
        def take() -> None:
            done.append(name)
            if fault is not None:
                raise fault

        return take

    wrong = [step("a", OSError("full"))]
    hangs = [MeshwardError(codes.MORE_PROBLEMS, f"{name} hangs") for name in "bc"]
    wrong += [step(name, fault) for name, fault in zip("bc", hangs, strict=True)]
    with pytest.raises(MeshwardError) as told:
        run_all([*wrong, step("d")])
    assert done == ["a", "b", "c", "d"] and told.value.code.number == "MW0000"
    assert told.value.message == "full; b hangs; c hangs"
    assert [fault.message for fault in hangs] == ["b hangs", "c hangs"] and told.value.__cause__ is hangs[0]
    with pytest.raises(MeshwardError) as alone:
        run_all([wrong[1]])
    assert alone.value is hangs[0]
    with pytest.raises(OSError, match="full"):
        run_all([wrong[0], step("d")])
    run_all([step("e")])
