"""Puts each row of the tables to the definition; a check raises AssertionError where it answers otherwise.

CHECKS is all that `scripts/mutate.py` runs against a changed definition, and `test_clauses.py` against the real one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from ipaddress import ip_address
from typing import Any

from clause_between import BETWEEN, BetweenRow
from clause_callers import CALLER_ROWS
from clause_denies import DENY_ROWS
from clause_facts import (
    CLAIMS,
    NOTHING,
    PERSONS,
    POINTERS,
    RIGHTS,
    RIGHTS_RULES,
    SAME_VALUES,
    SUFFICE,
    WINDOWS,
    RightsRow,
)
from clause_grants import GRANT_ROWS
from clause_promises import BROKEN_BY_THREE, BROKEN_LAW, LAWS, TESTS, UNKNOWN_NAMES, LawRow, TestRow
from clause_world import NOON, Expected, Row, document_of, given, grant, plan_of

from meshward.check.promises import breaches, broken_promises
from meshward.decide.between import decide_between
from meshward.decide.claims import ABSENT, claim, same_value
from meshward.decide.decide import Decider, decide
from meshward.decide.hours import next_change, within
from meshward.decide.identities import identity_from_claims
from meshward.decide.operators import rights_of, suffice
from meshward.decide.persons import is_person
from meshward.decide.reasons import FAULT
from meshward.decide.types import Decision, Identity, Permit, Request
from meshward.kit.errors import MeshwardError
from meshward.policy.schema import As
from meshward.policy.values import Hours, Route

ROWS: tuple[Row, ...] = (*GRANT_ROWS, *DENY_ROWS, *CALLER_ROWS)


def check_row(row: Row) -> None:
    """One question to `decide`, and whether all of the answer is as the row has it."""
    plan, asked = plan_of(row.rules), {"model": "m", "at": NOON, "source": "203.0.113.9", **row.asked}
    source = ip_address(asked["source"]) if asked["source"] is not None else None
    request = Request(asked["model"], "infer", asked["at"], source, asked.get("via"))
    decision = decide(plan, Identity(**row.who), request)
    assert _told(decision) == row.expected, (row.id, decision)
    assert decision.permission == (row.permission or f"{request.model}.infer"), (row.id, decision)
    if isinstance(decision, Permit):
        limits = {grant.id: grant.limits for grant in plan.grants}
        assert (decision.pays, decision.limits) == (decision.grants[0], limits[decision.grants[0]])


def _told(decision: Decision) -> Expected:
    if isinstance(decision, Permit):
        return Expected("permit", decision.grants, "", decision.holds_until, decision.roles)
    return Expected(decision.reason, (), decision.sentence, decision.holds_until, decision.roles)


def check_between(row: BetweenRow) -> None:
    now, following = plan_of(row.now), plan_of(row.following)
    identity, request = Identity(**row.who), Request("m", "infer", NOON)
    permit = decide(now, identity, request)
    assert isinstance(permit, Permit)
    decision = decide_between(
        permit, Decider(now), Decider(following), identity, request, Route("POST", "/run")
    )
    assert _told(decision) == row.expected, decision
    assert decision.permission == "m.infer"


def check_five_misses() -> None:
    """Of six grants that nearly hold, the five nearest are told, in the policy's order."""
    rules = {"grants": [given(f"g{place}", actions=["manage"]) for place in range(6)]}
    decision = decide(plan_of(rules), Identity(issuer="i", groups=("staff",)), Request("m", "infer", NOON))
    assert not isinstance(decision, Permit)
    assert [miss.grant for miss in decision.misses] == ["g0", "g1", "g2", "g3", "g4"]


def check_roles() -> None:
    """Which roles are held, and by which lines: those whose time is over are told as well."""
    lines = [{"issuer": "i", "group": "staff"}, {"issuer": "i", "subject": "s", "until": "2024-01-01"}]
    decider = Decider(plan_of({"roles": {"staff": lines}}))
    identity = Identity(issuer="i", subject="s", groups=("staff",))
    assert decider.roles(identity, NOON) == {"staff"}
    assert {each.lasts(NOON) for each in decider.memberships(identity)} == {True, False}


def check_faults() -> None:
    """A plan that cannot be read, or a request that cannot, is a denial: nothing is raised, nothing permitted."""
    identity, request = Identity(issuer="i", groups=("staff",)), Request("m", "infer", NOON)
    nothing: Any = None
    for decision in (
        decide(nothing, identity, request),
        decide(plan_of({}), nothing, request),
    ):
        assert (decision.permission, _told(decision).verdict) == ("m.infer", FAULT.reason)


def check_person(issuer: str | None, claims: dict[str, object], expected: bool | None) -> None:
    identity = Identity(issuer=issuer, subject="s", claims=claims)
    assert is_person(plan_of({}), identity) is expected


def check_nameless(claims: dict[str, object], expected: bool | None) -> None:
    """Somebody of whom neither subject nor client is told is no client in its own name."""
    assert is_person(plan_of({}), Identity(issuer="i", claims=claims)) is expected


def check_pointer(pointer: str, expected: object) -> None:
    found = claim(CLAIMS, pointer)
    assert (found is ABSENT) == (expected is NOTHING)
    assert found is ABSENT or found == expected


def check_same(left: object, right: object, expected: bool) -> None:
    assert same_value(left, right) is expected


def check_window(text: str, at: str, inside: bool, until: str) -> None:
    window, now = _hours(text), _instant(at)
    assert (within(window, now), next_change(window, now)) == (inside, _instant(until))


def check_empty_window() -> None:
    """The format refuses a window that ends where it starts; one that came all the same is never open."""
    window = replace(_hours("Mon-Sun 08:00-18:00 UTC"), end=8 * 60)
    assert not any(within(window, NOON + hour * 3600) for hour in range(24))


def check_rights(row: RightsRow) -> None:
    assert rights_of(plan_of(RIGHTS_RULES), Identity(**row.who), row.at) == row.rights


def check_suffices(rights: set[str], right: str | None, expected: bool) -> None:
    assert suffice(frozenset(rights), right) is expected


def check_law(row: LawRow) -> None:
    plan = plan_of({"never": [row.law], "grants": row.grants, **row.rules})
    found = [
        (grant.id, [f"{each.permission} {each.role}" for each in holdings])
        for grant, holdings in breaches(plan, plan.never[0])
    ]
    assert found == row.breaks


def check_broken_law(law: dict[str, object], grants: list[dict[str, object]], gives: str) -> None:
    (problem,) = broken_promises(document_of({"never": [law], "grants": grants}))
    assert problem.code.number == "MW0502"
    assert problem.message.startswith("the law law is broken by the grant g (policy.yaml:")
    assert problem.message.endswith(f"), which gives {gives}")


def check_test(row: TestRow) -> None:
    told = [
        (each.code.number, each.message)
        for each in broken_promises(document_of(row.rules | {"tests": [row.test]}))
    ]
    assert told == ([("MW0501", row.fails)] if row.fails else [])


def check_unknown_name(who: dict[str, str], message: str, remedy: str) -> None:
    try:
        identity_from_claims(plan_of({"agents": {}}), As.model_validate(who))
    except MeshwardError as error:
        assert (error.code.number, error.message, error.remedy) == ("MW0530", message, remedy)
    else:
        raise AssertionError(f"{who} is known")


def _hours(text: str) -> Hours:
    when = plan_of(grant(when={"hours": text})).grants[0].when
    assert when is not None
    assert when.hours is not None
    return when.hours


def _instant(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


def _checks() -> Iterator[tuple[str, Callable[[], None]]]:
    for row in ROWS:
        yield row.id, partial(check_row, row)
    yield "misses-five", check_five_misses
    yield "roles-and their lines", check_roles
    yield "fault-of plan or caller", check_faults
    for between in BETWEEN:
        yield f"between-{between.case}", partial(check_between, between)
    for case, *person in PERSONS:
        yield f"person-{case}", partial(check_person, *person)
    yield "person-of whom nothing is told", partial(check_nameless, {}, True)
    for pointer, found in POINTERS:
        yield f"pointer-{pointer!r}", partial(check_pointer, pointer, found)
    for left, right, same in SAME_VALUES:
        yield f"same-{left!r} and {right!r}", partial(check_same, left, right, same)
    for window in WINDOWS:
        yield f"window-{window[0]} at {window[1]}", partial(check_window, *window)
    yield "window-that is empty", check_empty_window
    for rights in RIGHTS:
        yield f"rights-{rights.case}", partial(check_rights, rights)
    for held, right, enough in SUFFICE:
        yield (
            f"suffice-{' '.join(sorted(held)) or 'none'} for {right}",
            partial(check_suffices, held, right, enough),
        )
    for law in LAWS:
        yield f"{law.clause}-{law.state}-{law.case}", partial(check_law, law)
    yield "never-more than is shown", partial(check_broken_law, *BROKEN_LAW)
    yield "never-as many as are shown", partial(check_broken_law, *BROKEN_BY_THREE)
    for test in TESTS:
        yield f"test.{test.clause}-{test.case}", partial(check_test, test)
    for who, message, remedy in UNKNOWN_NAMES:
        yield f"as-an unknown {next(iter(who))}", partial(check_unknown_name, who, message, remedy)


CHECKS: dict[str, Callable[[], None]] = {name.replace(" ", "_"): check for name, check in _checks()}
