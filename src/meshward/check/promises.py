"""What a policy promises about itself: its tests, and its laws over all grants.

A test that names no time speaks of one fixed moment, so that no date that passes can make a policy unusable.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from meshward.decide.decide import Decider
from meshward.decide.identities import identity_from_claims
from meshward.decide.types import Decision, Permit, Request
from meshward.kit import codes
from meshward.kit.errors import Problem
from meshward.kit.text import join_words
from meshward.plan.ir import Grant, Never, Plan
from meshward.plan.permissions import Holding, holdings_of
from meshward.plan.resolve import resolve
from meshward.policy.parse import Document
from meshward.policy.schema import Test

TEST_TIME = int(datetime(2024, 1, 1, 12, tzinfo=UTC).timestamp())
"""A Monday, noon: the moment of every test that names none."""
_SHOWN = 3


def broken_promises(document: Document) -> list[Problem]:
    """Every test that comes out otherwise (MW0501) and every law that a grant breaks (MW0502)."""
    plan = resolve(document.policy)
    return [*_failed_tests(plan, document), *_broken_laws(plan, document)]


def run_test(decider: Decider, test: Test) -> Decision:
    """What is decided in the case of `test`. A caller of whom nothing else is said has just logged in."""
    at = test.at.value if test.at is not None else TEST_TIME
    source = test.source.value if test.source is not None else None
    request = Request(test.model, test.action, at, source, test.via)
    return decider.decide(identity_from_claims(decider.plan, test.who, at), request)


def breaches(plan: Plan, law: Never) -> Iterator[tuple[Grant, list[Holding]]]:
    """The grants that break `law`, with what each gives against it, model by model.

    A law speaks of everybody who holds one of its roles, and of what the grants that name this role give
    them. What such a person holds besides, by another role's grant, is that role's. Denies that always hold
    count in the policy's favour; conditions, expiries, sleep and a caller's attributes do not: they may be
    met some day.
    """
    for grant in plan.grants:
        if _is_excepted(grant, law) or set(law.roles).isdisjoint(grant.roles):
            continue
        found = [holding for holding in holdings_of(plan, grant) if _is_forbidden(holding, law)]
        if found:
            yield grant, sorted(found, key=lambda holding: holding.model)


def _is_forbidden(holding: Holding, law: Never) -> bool:
    return holding.role in law.roles and holding.model in law.models.names and holding.action in law.actions


def _is_excepted(grant: Grant, law: Never) -> bool:
    via = grant.when.via if grant.when is not None else None
    return via is not None and set(via) <= set(law.unless_via)


def _failed_tests(plan: Plan, document: Document) -> Iterator[Problem]:
    decider = Decider(plan)
    for place, test in enumerate(document.policy.tests):
        decision = run_test(decider, test)
        actual = "permit" if isinstance(decision, Permit) else "denial"
        if actual != test.expect:
            message = f"this test expects a {test.expect} and gets a {actual}: {_why(decision)}"
            yield Problem(
                codes.TEST_FAILED, message, codes.TEST_FAILED.remedy, document.positions.at(("tests", place))
            )


def _why(decision: Decision) -> str:
    if isinstance(decision, Permit):
        return f"{decision.permission} is given by {join_words(decision.grants, 'and')}"
    nearest = f" (nearest grant: {decision.misses[0].grant})" if decision.misses else ""
    return f"{decision.sentence}{nearest}"


def _broken_laws(plan: Plan, document: Document) -> Iterator[Problem]:
    grants = {grant.id: place for place, grant in enumerate(document.policy.grants)}
    for place, law in enumerate(plan.never):
        for grant, found in breaches(plan, law):
            where = document.positions.at(("grants", grants[grant.id]))
            yield Problem(
                codes.LAW_BROKEN,
                f"the law {law.id} is broken by the grant {grant.id} ({where}), which gives {_gifts(found)}",
                codes.LAW_BROKEN.remedy,
                document.positions.at(("never", place)),
            )


def _gifts(found: list[Holding]) -> str:
    shown = [f"{holding.permission} to {holding.role}" for holding in found[:_SHOWN]]
    more = [f"{len(found) - _SHOWN} more"] if len(found) > _SHOWN else []
    return join_words([*shown, *more], "and")
