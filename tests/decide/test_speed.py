"""A decision reads only what can matter to it, however long the policy is."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

from tests.cost import watched

from meshward.decide.decide import Decider
from meshward.decide.types import Denial, Identity, Permit, Request
from meshward.plan.resolve import resolve

FEW, MANY = 10, 1000


def test_a_hundred_times_the_models_and_grants_take_a_decision_no_more_steps(policy_of):
    few, many = (_steps_of_decisions(_plan(policy_of, size)) for size in (FEW, MANY))
    assert many == few


def _plan(policy_of, size: int):
    versions = {"v1": {"server": "echo", "url": "unix:/run/m.sock"}}
    return resolve(
        policy_of(
            models={f"m{number}": {"versions": versions} for number in range(size)},
            roles={f"r{number}": [{"issuer": "i", "group": f"g{number}"}] for number in range(size)},
            grants=[
                {"id": f"g{number}", "roles": [f"r{number}"], "models": "all", "actions": ["infer"]}
                for number in range(size)
            ],
            denies=[
                {"id": f"d{number}", "subjects": [{"issuer": "i", "subject": f"leaver{number}"}]}
                for number in range(size)
            ],
        )
    )


def _steps_of_decisions(plan) -> tuple[int, int]:
    """Lines that a permit and a denial run, once the permission has been asked for."""
    decider, request = Decider(plan), Request("m5", "infer", 0)
    identity = Identity(issuer="i", subject="s", groups=("g7", "g9", "other"))
    leaver = Identity(issuer="i", subject="leaver9", groups=("g7",))
    permit = decider.decide(identity, request)
    assert isinstance(permit, Permit)
    assert permit.grants == ("g7", "g9")
    assert isinstance(decider.decide(leaver, request), Denial)
    return _steps(lambda: decider.decide(identity, request)), _steps(lambda: decider.decide(leaver, request))


def _steps(work) -> int:
    count = 0

    def trace(_: FrameType, event: str, __: Any) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    with watched(sys.settrace, trace, sys.gettrace()):
        work()
    return count
