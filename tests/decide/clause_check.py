"""Puts each row of the tables to the definition. Raises AssertionError where it answers otherwise."""

from __future__ import annotations

from ipaddress import ip_address

from clause_callers import CALLER_ROWS
from clause_denies import DENY_ROWS
from clause_grants import GRANT_ROWS
from clause_world import NOON, Expected, Row, plan_of

from meshward.decide.decide import decide
from meshward.decide.types import Decision, Identity, Permit, Request

ROWS: tuple[Row, ...] = (*GRANT_ROWS, *DENY_ROWS, *CALLER_ROWS)


def check_row(row: Row) -> None:
    """One question, and whether all of the answer is as the row has it."""
    plan, asked = plan_of(row.rules), {"model": "m", "at": NOON, "source": "203.0.113.9", **row.asked}
    source = ip_address(asked["source"]) if asked["source"] is not None else None
    request = Request(asked["model"], "infer", asked["at"], source, asked.get("via"))
    decision = decide(plan, Identity(**row.who), request)
    assert _told(decision) == row.expected, (row.id, decision)
    if isinstance(decision, Permit):
        limits = {grant.id: grant.limits for grant in plan.grants}
        assert (decision.pays, decision.limits) == (decision.grants[0], limits[decision.grants[0]])
    assert decision.permission == (row.permission or f"{request.model}.infer"), (row.id, decision)


def _told(decision: Decision) -> Expected:
    if isinstance(decision, Permit):
        return Expected("permit", decision.grants, "", decision.holds_until, decision.roles)
    return Expected(decision.reason, (), decision.sentence, decision.holds_until, decision.roles)
