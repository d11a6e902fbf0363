"""Every clause of the definition, met, unmet and unknown, by tables that were written by hand.

Other tests draw policies and requests at random; these rows are there each time. `scripts/mutate.py` inverts the code
that they speak of, one piece after the other, and each time one of them must fail.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product

import clause_callers
import clause_denies
import clause_grants
import pytest
from clause_check import CHECKS, ROWS
from clause_promises import LAWS, TESTS
from clause_world import STATES
from pydantic import BaseModel

from meshward.decide.reasons import REFUSALS
from meshward.policy import schema

SAYS_NOTHING = {
    "grant.id": "a name",
    "grant.limits": "the edge counts; the decision hands on those of the grant that pays",
    "deny.id": "a name",
    "never.id": "a name",
    "agent.credential": "proven before: `callers` tells the agent by it; denies know its subject",
    "agent.limits": "the edge counts",
}
"""Keys of the format that are no clause: why."""
BESIDE_THE_FORMAT = {"agent", "model", "model.calls", "fault"}
"""What a decision asks besides: that there is such an agent, model and declared call, and that nothing breaks."""
NEVER_UNKNOWN = clause_grants.NEVER_UNKNOWN | clause_denies.NEVER_UNKNOWN | clause_callers.NEVER_UNKNOWN
NEVER_OTHERWISE = {
    ("grant.models.all", "unmet"),
    ("deny.models.all", "unmet"),
    ("agent.models.all", "unmet"),
    ("grant.on_request", "met"),
    ("fault", "unmet"),
    ("fault", "unknown"),
}


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
def test_clause(check: Callable[[], None]) -> None:
    check()


def clauses_of(name: str, node: type[BaseModel]) -> Iterator[str]:
    """Every key of a rule in the format that asks something, as the tables call it."""
    for field, info in node.model_fields.items():
        clause = f"{name}.{info.alias or field}"
        if clause in SAYS_NOTHING:
            continue
        if field == "when":
            yield from clauses_of(clause, schema.When)
        elif field == "models":
            yield from (f"{clause}.{kind}" for kind in ("all", "names", *schema.ModelSelector.model_fields))
        else:
            yield clause


def test_every_clause_has_its_rows() -> None:
    """A new key of the format fails here until its rows are written."""
    rules = {"grant": schema.Grant, "deny": schema.Deny, "member": schema.Member, "agent": schema.Agent}
    clauses = {clause for name, node in rules.items() for clause in clauses_of(name, node)}
    assert {row.clause for row in ROWS} == clauses | BESIDE_THE_FORMAT
    never = NEVER_OTHERWISE | {(clause, "unknown") for clause in NEVER_UNKNOWN}
    wanted = set(product(clauses | BESIDE_THE_FORMAT, STATES)) - never
    assert {(row.clause, row.state) for row in ROWS} == wanted


def test_every_reason_is_expected_by_some_row() -> None:
    assert {refusal.reason for refusal in REFUSALS} == {row.expected.verdict for row in ROWS} - {"permit"}


def test_every_clause_of_a_law_has_its_rows() -> None:
    """Nothing of a law is ever unknown: it speaks of the rules, and takes what may be met as met."""
    clauses = set(clauses_of("never", schema.Never))
    never = {("never.models.all", "unmet"), ("never.models.same", "unmet")}
    assert {(row.clause, row.state) for row in LAWS} == set(product(clauses, ("met", "unmet"))) - never


def test_every_key_of_a_policys_tests_has_its_rows() -> None:
    keys = {info.alias or name for name, info in schema.Test.model_fields.items()} - {"as"}
    who = {f"as.{name}" for name in schema.As.model_fields}
    assert {row.clause for row in TESTS} == keys | who


def test_no_check_stands_twice() -> None:
    assert len({row.id for row in ROWS}) == len(ROWS)
