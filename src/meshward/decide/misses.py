"""The grants that nearly held, nearest first, and what each lacked."""

from __future__ import annotations

from datetime import UTC, datetime
from heapq import nsmallest
from typing import NamedTuple

from meshward.decide import wording
from meshward.decide.clauses import Case, of_grant
from meshward.decide.roles import Membership, fits
from meshward.decide.types import Miss
from meshward.kit.text import join_words
from meshward.plan.ir import Grant, Member

_SHOWN = 5
_LINES = 2


def nearest(case: Case, roles: frozenset[str]) -> tuple[Miss, ...]:
    """Grants that lack at most one of role, model and action, besides conditions. Fewest lacks first.

    Where two lack as many, one that gives the permission to another role comes before one that gives this
    role something else; else the policy's order counts.
    """
    found = [
        (sum(gaps) + len(conditions), gaps.model or gaps.action, grant, gaps, conditions)
        for grant in case.plan.grants
        if not grant.shadow and sum(gaps := _gaps(grant, case, roles)) <= 1
        if (conditions := _unmet(grant, case)) or any(gaps)
    ]
    return tuple(_miss(*entry[2:], case) for entry in nsmallest(_SHOWN, found, key=lambda entry: entry[:2]))


class _Gaps(NamedTuple):
    """What of its three parts a grant does not give the caller."""

    role: bool
    model: bool
    action: bool


def _gaps(grant: Grant, case: Case, roles: frozenset[str]) -> _Gaps:
    return _Gaps(
        role=roles.isdisjoint(grant.roles),
        model=case.model.name not in grant.models.names,
        action=case.request.action not in grant.actions,
    )


def _unmet(grant: Grant, case: Case) -> list[str]:
    return [clause.lack for clause in of_grant(grant, case) if clause.met is not True]


def _miss(grant: Grant, gaps: _Gaps, conditions: list[str], case: Case) -> Miss:
    """Worded only for the few that are shown: a role's members are looked up for it."""
    lacks = [role_lack(grant, case)] if gaps.role else []
    lacks += [f"model {case.model.name}"] if gaps.model else []
    lacks += [f"action {case.request.action}"] if gaps.action else []
    return Miss(grant.id, (*lacks, *conditions))


def role_lack(grant: Grant, case: Case) -> str:
    """`role data-scientist (from okta group data-science)`, naming the caller's own issuer where it can."""
    return join_words(f"role {role} ({_source(role, case)})" for role in grant.roles)


def _source(role: str, case: Case) -> str:
    lines = case.plan.roles.get(role, ())
    ends = [end for line in lines if (end := _end(role, line, case)) is not None]
    if ends:
        return f"the membership ended on {datetime.fromtimestamp(ends[0] - 1, UTC).date()}"
    own = [line for line in lines if line.issuer == case.identity.issuer]
    shown = [wording.member(line) for line in (own or lines)[:_LINES]]
    return f"from {join_words(shown)}" if shown else "which has no members"


def _end(role: str, line: Member, case: Case) -> int | None:
    """When the membership of this line ended for the caller, if it did."""
    over = fits(line, case.identity) and not Membership(role, line).lasts(case.request.at)
    return line.until if over else None
