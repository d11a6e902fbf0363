"""The definition gives what the conformance table expects, which is written by hand."""

from __future__ import annotations

import time
from itertools import product
from pathlib import Path

import pytest

from meshward.decide.decide import decide
from meshward.decide.types import Permit, Request
from meshward.plan.ir import Plan
from meshward.plan.resolve import resolve
from meshward.policy.schema import ACTIONS, Policy
from tests.conformance import world


@pytest.fixture(scope="module")
def plan() -> Plan:
    text, _ = world.policy(Path("/keys/jwks.json"), 8443, Path("/run/models"))
    return resolve(Policy.model_validate(text))


@pytest.mark.parametrize(("person", "model"), list(product(world.PEOPLE, world.MODELS)))
def test_the_definition_permits_what_is_written_and_nothing_else(plan: Plan, person: str, model: str) -> None:
    now, who = int(time.time()), world.identity(person)
    requests = {action: Request(model, action, now, world.SOURCE) for action in ACTIONS}
    permitted = [each for each, asked in requests.items() if isinstance(decide(plan, who, asked), Permit)]
    assert sorted(permitted) == sorted(world.PERMITTED[person].get(model, "").split())


def test_the_table_names_everybody() -> None:
    assert world.PERMITTED.keys() == world.PEOPLE.keys()
