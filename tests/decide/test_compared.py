"""What `compare` says of a change, against the definition itself: asked about made-up policies, callers and requests.

Nothing that one policy permits and the other does not may be missed. What is said to be gained must be permitted to
somebody: there the policies are small, and every caller and request that they tell apart is tried.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from datetime import UTC, datetime
from ipaddress import ip_address
from itertools import product
from typing import Any

from decide_policies import ROLES, identity_of, policies, questions, request_of, some
from hypothesis import given, settings
from hypothesis import strategies as st

from meshward.compare.change import Change, compare
from meshward.decide.decide import Decider
from meshward.decide.types import Identity, Permit, Request
from meshward.plan.ir import Plan
from meshward.plan.resolve import resolve
from meshward.policy.schema import Policy

EVERY_ACTION = {
    "infer": ["POST /run"],
    "describe": ["GET /info"],
    "observe": ["GET /metrics"],
    "manage": ["POST /stop"],
}
EDITED = ("roles", "grants", "denies", "models", "agents")


def plan_of(policy: dict[str, Any]) -> Plan:
    return resolve(Policy.model_validate(policy))


def said(change: Change) -> set[str]:
    return {each.permission for each in change.gained}


@st.composite
def pairs(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, Any]]:
    """A policy, and another that has some parts of a third one."""
    old, other = ({**draw(policies()), "servers": {"echo": EVERY_ACTION}} for _ in range(2))
    new = copy.deepcopy(old)
    for part in draw(some(list(EDITED), 3)):
        if isinstance(new[part], dict):
            name = draw(st.sampled_from(sorted(new[part])))
            new[part][name] = other[part][name]
        else:
            kept = [rule for rule in new[part] if draw(st.integers(0, 3))]
            new[part] = kept + [
                {**rule, "id": f"new{rule['id']}"} for rule in other[part][:1] if draw(st.booleans())
            ]
    return old, new


@settings(max_examples=150)
@given(pairs(), st.lists(questions(), min_size=20, max_size=30))
def test_nothing_that_is_newly_permitted_is_missed(pair, asked):
    old, new = map(plan_of, pair)
    before, after, change = Decider(old), Decider(new), compare(old, new)
    for each in asked:
        who, request = identity_of(each), request_of(each)
        if isinstance(after.decide(who, request), Permit) and not isinstance(
            before.decide(who, request), Permit
        ):
            permission = f"{request.model}.{request.action}"
            assert permission in said(change), (who, request, change.lines())
            if request.action == "manage":
                assert any(permission in sentence for sentence in change.widening), change.lines()


# --- small policies, of which everything is tried

GROUPS, SUBJECTS, TENANTS = ("g1", "g2"), ("s1", "s2"), ("t1", "t2")
LINES: list[dict[str, Any]] = [
    {"issuer": "i", "group": "g1"},
    {"issuer": "i", "group": "g2"},
    {"issuer": "i", "subject": "s1"},
    {"issuer": "i", "group": "g1", "subject": "s2"},
    {"issuer": "i", "claims": {"org": "t1"}},
    {"issuer": "i", "group": "g2", "until": "2026-06-30"},
    {"workload": "w"},
    {"workload": "v"},
]
SOURCES = [["10.0.0.0/16"], ["10.0.0.0/8"], ["10.0.0.0/9", "10.128.0.0/9"], ["192.0.2.0/24", "10.0.0.0/16"]]
HOURS = [
    "Mon-Fri 08:00-18:00 UTC",
    "Mon-Fri 08:00-12:00 UTC",
    "Sat-Mon 20:00-10:00 UTC",
    "Mon-Sun 00:00-24:00 UTC",
]
KINDS: dict[str, list[dict[str, Any]]] = {
    "from": [{"when": {"from": each}} for each in SOURCES],
    "hours": [{"when": {"hours": each}} for each in HOURS],
    "expires": [{"expires": each} for each in ("2026-03-31", "2026-06-30", "2026-09-30")],
    "fresh": [{"when": {"fresh": each}} for each in ("1h", "2h", "3h")],
    "nothing": [{}],
}
WEEKENDS = [(3, 2), (3, 6), (3, 7), (3, 8), (7, 3), (7, 4), (7, 5), (7, 6)]
"""A Monday, Friday, Saturday and Sunday, before and after the end of a membership."""
DAYS = [datetime(2026, month, 2, tzinfo=UTC) for month in (3, 4, 7, 12)]


@st.composite
def small(draw: st.DrawFn, kind: str) -> dict[str, Any]:
    selection = st.sampled_from(["all", ["m1"], ["m2"], {"same": ["tenant"]}, {"labels": {"tenant": "t1"}}])
    clause = st.sampled_from([{}, *KINDS[kind]])
    rule = st.builds(
        lambda roles, models, actions, more: {"roles": roles, "models": models, "actions": actions, **more},
        some(ROLES), selection, some(["infer", "manage"]), clause,
    )  # fmt: skip
    subjects = st.sampled_from([{}, {}, {"subjects": [{"issuer": "i", "subject": "s1"}]}])
    labels = st.sampled_from([{}, {"tenant": "t1"}, {"tenant": "t2"}])
    grants, denies = draw(st.lists(rule, min_size=1, max_size=3)), draw(st.lists(rule, max_size=1))
    return {
        "version": 1,
        "trust_domain": "one.test",
        "issuers": {
            "i": {"profile": "oidc", "issuer": "https://i", "audience": "a", "attributes": {"tenant": "/org"}}
        },
        "workloads": {"w": {"id": "/w"}, "v": {"id": "/v"}},
        "roles": {role: draw(st.lists(st.sampled_from(LINES), min_size=1, max_size=2)) for role in ROLES},
        "servers": {"echo": EVERY_ACTION},
        "models": {
            name: {
                "labels": draw(labels),
                "versions": {"v1": {"server": "echo", "url": f"unix:/{name}.sock"}},
            }
            for name in ("m1", "m2")
        },
        "grants": [{"id": f"g{n}"} | each for n, each in enumerate(grants)],
        "denies": [{"id": f"d{n}"} | each | draw(subjects) for n, each in enumerate(denies)],
    }


@st.composite
def small_pairs(draw: st.DrawFn) -> tuple[str, dict[str, Any], dict[str, Any]]:
    kind = draw(st.sampled_from(sorted(KINDS)))
    old, other = draw(small(kind)), draw(small(kind))
    parts = draw(some(["roles", "grants", "denies", "models"], 2))
    return kind, old, {**old, **{part: other[part] for part in parts}}


def everybody() -> Iterator[Identity]:
    for subject, tenant in product((*SUBJECTS, "s3"), (None, *TENANTS, "t3")):
        claims = {} if tenant is None else {"org": tenant}
        for groups in ((), ("g1",), ("g2",), GROUPS):
            attributes = {} if tenant is None else {"tenant": tenant}
            yield Identity("i", subject, groups, claims, attributes)
    for name, tenant in product(("w", "v"), (None, *TENANTS, "t3")):
        yield Identity(workload=name, attributes={} if tenant is None else {"tenant": tenant})


def situations(kind: str) -> Iterator[tuple[int, str | None, int | None]]:
    """When, from where, and with how old a login: all that policies of that kind tell apart."""
    days = DAYS if kind != "hours" else [datetime(2026, *day, tzinfo=UTC) for day in WEEKENDS]
    hours = (9, 13, 19, 21) if kind == "hours" else (9,)
    sources = (
        (None, "10.0.0.1", "10.200.0.1", "10.1.0.1", "192.0.2.1", "198.51.100.1")
        if kind == "from"
        else (None,)
    )
    ages = (None, 1800, 5400, 9000, 90000) if kind == "fresh" else (None,)
    for day, hour, source, age in product(days, hours, sources, ages):
        yield int(day.timestamp()) + hour * 3600, source, age


def newly_permitted(old: Plan, new: Plan, kind: str) -> Iterator[str]:
    before, after = Decider(old), Decider(new)
    for model, action in product(("m1", "m2"), ("infer", "manage")):
        for who, (at, source, age) in product(everybody(), situations(kind)):
            who = Identity(
                who.issuer, who.subject, who.groups, who.claims, who.attributes, who.workload,
                authenticated_at=None if age is None else at - age,
            )  # fmt: skip
            request = Request(model, action, at, ip_address(source) if source else None)  # type: ignore[arg-type]
            if isinstance(after.decide(who, request), Permit) and not isinstance(
                before.decide(who, request), Permit
            ):
                yield f"{model}.{action}"
                break


@settings(max_examples=60)
@given(small_pairs())
def test_what_is_said_to_be_gained_is_what_is_newly_permitted(drawn):
    kind, *pair = drawn
    old, new = map(plan_of, pair)
    change = compare(old, new)
    assert said(change) == set(newly_permitted(old, new, kind)), change.lines()
    managed = {each for each in said(change) if each.endswith(".manage")}
    assert bool(managed) == bool(change.widening), change.lines()
