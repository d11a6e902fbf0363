"""Rights over meshward itself: who has them, and that gaining one widens."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from meshward.compare.change import compare
from meshward.decide.operators import rights_of, suffice
from meshward.decide.types import Identity
from meshward.plan.ir import Plan
from meshward.plan.resolve import resolve
from meshward.policy.schema import Policy

BASE: dict[str, Any] = {
    "version": 1,
    "trust_domain": "one.test",
    "issuers": {"corp": {"profile": "oidc", "issuer": "https://idp.test", "audience": "a"}},
    "workloads": {"w": {"id": "/ns/jobs/sa/w"}},
    "roles": {
        "ops": [{"issuer": "corp", "group": "ops", "until": "2026-06-30"}, {"workload": "w"}],
        "shift": [{"issuer": "corp", "group": "shift"}],
        "boss": [{"issuer": "corp", "group": "bosses"}],
    },
    "operators": {"apply": ["ops"], "traffic": ["shift"]},
    "servers": {"mine": {"infer": ["POST /run"], "manage": ["POST /stop"]}},
    "models": {"m": {"versions": {"v1": {"server": "mine", "url": "unix:/run/m.sock"}}}},
    "grants": [{"id": "all", "roles": ["boss", "ops"], "models": "all", "actions": ["infer", "manage"]}],
}
THEN, LATER = 1_700_000_000, 1_800_000_000  # before and after the end of June 2026


def plan_of(policy: dict[str, Any]) -> Plan:
    return resolve(Policy.model_validate(policy))


def person(*groups: str, **more: Any) -> Identity:
    return Identity("corp", "p", groups=groups, **more)


@pytest.mark.parametrize(
    ("identity", "at", "rights"),
    [
        (person("ops"), THEN, {"apply"}),
        (person("ops"), LATER, set()),
        (person("shift", "ops"), THEN, {"apply", "traffic"}),
        (person("bosses"), THEN, set()),
        (person(), THEN, set()),
        (person("ops", actors=("agent",)), THEN, set()),
        (Identity(workload="w"), THEN, set()),
        (person("ops", workload="w"), THEN, set()),
        (Identity("other", "p", groups=("ops",)), THEN, set()),
    ],
)
def test_a_right_is_had_by_a_role_that_is_held_now(identity: Identity, at: int, rights: set[str]) -> None:
    assert rights_of(plan_of(BASE), identity, at) == rights


@pytest.mark.parametrize(
    ("rights", "right", "enough"),
    [
        ({"apply"}, "apply", True),
        ({"apply"}, "traffic", True),
        ({"apply"}, None, True),
        ({"traffic"}, "traffic", True),
        ({"traffic"}, "apply", False),
        ({"traffic"}, None, True),
        ({"audit", "open", "erase"}, "apply", False),
        ({"audit", "open", "erase"}, "traffic", False),
        ({"audit", "open", "erase"}, None, False),
        (set(), None, False),
    ],
)
def test_apply_is_enough_for_everything_and_traffic_for_itself(
    rights: set[str], right: str | None, enough: bool
) -> None:
    assert suffice(frozenset(rights), right) is enough


def widening(**edit: Any) -> tuple[str, ...]:
    return compare(plan_of(BASE), plan_of({**copy.deepcopy(BASE), **edit})).widening


def test_whoever_gains_a_right_widens() -> None:
    assert widening(operators={"apply": ["ops", "boss"], "traffic": ["shift"]}) == (
        "group bosses of corp gains the operators' right `apply`, by boss",
    )
    assert widening(operators={"apply": ["ops"], "traffic": ["shift", "ops"]}) != ()
    longer = [{"issuer": "corp", "group": "ops"}, {"workload": "w"}]
    assert any("`apply`" in each for each in widening(roles={**BASE["roles"], "ops": longer}))
    more = [*BASE["roles"]["shift"], {"issuer": "corp", "subject": "x"}]
    assert any("`traffic`" in each for each in widening(roles={**BASE["roles"], "shift": more}))


def test_whoever_loses_one_does_not() -> None:
    assert widening(operators={}) == ()
    assert widening(operators={"apply": ["ops"]}) == ()
    renamed = {**BASE["roles"], "others": BASE["roles"]["ops"]}
    assert widening(roles=renamed, operators={"apply": ["others"], "traffic": ["shift"]}) == ()
