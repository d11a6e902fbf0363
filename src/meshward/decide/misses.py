"""The grants that nearly held, nearest first, and what each lacked."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from meshward.decide import spelling
from meshward.decide.clauses import Case, of_grant
from meshward.decide.roles import Membership, fits
from meshward.decide.types import Miss
from meshward.plan.ir import Grant, Member

_SHOWN = 5
_LINES = 2


def nearest(case: Case, roles: frozenset[str]) -> tuple[Miss, ...]:
    """Grants that lack at most one of role, model and action, besides conditions. Fewest lacks first.

    Where two lack as many, one that gives the permission to another role comes before one that gives this
    role something else.
    """
    found = [
        (len(lacks), not _gives(grant, case), place, Miss(grant.id, lacks))
        for place, grant in enumerate(case.plan.grants)
        if not grant.shadow and (lacks := tuple(_lacks(grant, case, roles)))
    ]
    return tuple(miss for *_, miss in sorted(found, key=lambda entry: entry[:3])[:_SHOWN])


def _lacks(grant: Grant, case: Case, roles: frozenset[str]) -> Iterator[str]:
    wrong_role = roles.isdisjoint(grant.roles)
    wrong_model = case.model.name not in grant.models.names
    wrong_action = case.request.action not in grant.actions
    if wrong_role + wrong_model + wrong_action > 1:
        return
    if wrong_role:
        yield role_lack(grant, case)
    if wrong_model:
        yield f"model {case.model.name}"
    if wrong_action:
        yield f"action {case.request.action}"
    yield from (clause.lack for clause in of_grant(grant, case) if clause.met is not True)


def _gives(grant: Grant, case: Case) -> bool:
    return case.model.name in grant.models.names and case.request.action in grant.actions


def role_lack(grant: Grant, case: Case) -> str:
    """`role data-scientist (from okta group data-science)`, naming the caller's own issuer where it can."""
    return spelling.listed(f"role {role} ({_source(role, case)})" for role in grant.roles)


def _source(role: str, case: Case) -> str:
    lines = case.plan.roles.get(role, ())
    if ended := next((line for line in lines if _ended(role, line, case)), None):
        return f"the membership ended on {datetime.fromtimestamp((ended.until or 1) - 1, UTC).date()}"
    own = [line for line in lines if line.issuer == case.identity.issuer]
    shown = [spelling.member(line) for line in (own or lines)[:_LINES]]
    return f"from {spelling.listed(shown)}" if shown else "which has no members"


def _ended(role: str, line: Member, case: Case) -> bool:
    return fits(line, case.identity) and not Membership(role, line).lasts(case.request.at)
