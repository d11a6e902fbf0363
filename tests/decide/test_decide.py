"""The definition against a second, naive reading of made-up policies, and the laws that it must keep."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from decide_oracle import Asked, holding
from decide_policies import (
    denies,
    identity_of,
    moments,
    plain_grants,
    policies,
    questions,
    request_of,
    timed_policies,
)
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from meshward.decide.decide import decide
from meshward.decide.types import Decision, Denial, Identity, Permit, Request
from meshward.plan.resolve import resolve
from meshward.policy.schema import Policy

many = settings(max_examples=120)
fewer = settings(max_examples=40)


def ask(policy: dict[str, Any], asked: Asked) -> Decision:
    return decide(resolve(Policy.model_validate(policy)), identity_of(asked), request_of(asked))


def grants_of(decision: Decision) -> tuple[str, ...]:
    return decision.grants if isinstance(decision, Permit) else ()


@many
@given(policies(), st.lists(questions(), min_size=8, max_size=12))
def test_decides_as_the_policy_reads(policy, questions):
    plan = resolve(Policy.model_validate(policy))
    for asked in questions:
        expected = holding(policy, asked)
        decision = decide(plan, identity_of(asked), request_of(asked))
        assert grants_of(decision) == tuple(expected or ())
        if isinstance(decision, Permit):
            assert decision.pays == decision.grants[0]
        else:
            assert decision.reason != "fault"
            assert (decision.reason == "denied_by_rule") == (expected is None)


@fewer
@given(policies(), questions())
def test_without_grants_nothing_is_permitted(policy, asked):
    assert isinstance(ask(policy | {"grants": []}, asked), Denial)


@fewer
@given(policies(), questions(), plain_grants, st.integers(0, 5))
def test_a_further_grant_takes_nothing_away(policy, asked, grant, place):
    more = list(policy["grants"])
    more.insert(place, {"id": "further"} | grant)
    before = ask(policy, asked)
    after = ask(policy | {"grants": more}, asked)
    assert set(grants_of(before)) <= set(grants_of(after))


@fewer
@given(policies(), questions(), denies)
def test_a_further_deny_gives_nothing(policy, asked, deny):
    stricter = policy | {"denies": [*policy["denies"], {"id": "further"} | deny]}
    assert set(grants_of(ask(stricter, asked))) <= set(grants_of(ask(policy, asked)))


@fewer
@given(policies(), questions())
def test_a_deny_of_everything_beats_every_grant(policy, asked):
    assume(asked.model != "unknown")
    decision = ask(policy | {"denies": [{"id": "stop", "models": "all"}]}, asked)
    assert isinstance(decision, Denial)
    assert decision.reason == "denied_by_rule"
    assert "stop" in decision.sentence


@fewer
@given(policies(), questions(), st.randoms(use_true_random=False))
def test_the_order_of_grants_decides_only_who_pays(policy, asked, random):
    shuffled = list(policy["grants"])
    random.shuffle(shuffled)
    order = [grant["id"] for grant in shuffled]
    before, after = ask(policy, asked), ask(policy | {"grants": shuffled}, asked)
    assert sorted(grants_of(before)) == sorted(grants_of(after))
    assert type(before) is type(after)
    if isinstance(after, Permit):
        assert after.pays == min(after.grants, key=order.index)


@many
@given(st.one_of(timed_policies(), policies()), questions(), moments, st.floats(0, 1))
def test_until_it_says_the_decision_stays_the_same(policy, asked, at, part):
    plan, who = resolve(Policy.model_validate(policy)), identity_of(asked)
    request = replace(request_of(asked), at=at)
    assert_same_until(plan, who, request, part)
    staff = Identity(issuer="i1", subject="s1", groups=("g1",), authenticated_at=at - 1800)
    assert_same_until(plan, staff, Request("m1", "infer", at), part)


def assert_same_until(plan, who, request, part):
    now = decide(plan, who, request)
    until = now.holds_until if now.holds_until is not None else request.at + 10 * 365 * 86400
    assert until > request.at
    for later in (until - 1, request.at + int(part * (until - 1 - request.at))):
        then = decide(plan, who, replace(request, at=later))
        assert grants_of(then) == grants_of(now)
        assert then.roles == now.roles
        assert getattr(then, "reason", None) == getattr(now, "reason", None)


class Broken(dict):
    """Claims that cannot be read."""

    def get(self, *_):
        raise RuntimeError("cannot be read")


def test_an_error_denies(policy_of):
    policy = policy_of(
        roles={
            "jobs": [{"issuer": "ci", "claims": {"environment": "production"}}],
            "staff": [{"issuer": "ci"}],
        },
        grants=[{"id": "all", "roles": ["staff"], "models": "all", "actions": ["infer"]}],
    )
    identity = Identity(issuer="ci", subject="s", claims=Broken(environment="production"))
    decision = decide(resolve(policy), identity, Request("m", "infer", 1000))
    assert isinstance(decision, Denial)
    assert decision.reason == "fault"
    assert decision.holds_until == 1000


def test_an_unknown_model_is_not_repeated_to_the_caller(policy_of):
    decision = decide(
        resolve(policy_of()), Identity(issuer="i", subject="s"), Request("evil\r\nX: 1", "infer", 0)
    )
    assert isinstance(decision, Denial)
    assert (decision.reason, decision.permission) == ("model_unknown", "?.infer")
    assert "evil" not in decision.sentence + decision.remedy


@pytest.mark.parametrize(
    ("claim", "value", "held"),
    [
        ("1", "1", True),
        (1, 1, True),
        (True, True, True),
        ("1", 1, False),
        (1, "1", False),
        (1, True, False),
        (True, 1, False),
        ("true", True, False),
        (1, 1.0, False),
    ],
)
def test_claims_are_compared_in_value_and_type(policy_of, claim, value, held):
    policy = policy_of(
        roles={"jobs": [{"issuer": "ci", "claims": {"/deep/0/id": claim}}]},
        grants=[{"id": "g", "roles": ["jobs"], "models": "all", "actions": ["infer"]}],
    )
    identity = Identity(issuer="ci", subject="s", claims={"deep": [{"id": value}]})
    assert isinstance(decide(resolve(policy), identity, Request("m", "infer", 0)), Permit) is held


def test_a_group_of_another_issuer_gives_nothing(policy_of):
    plan = resolve(policy_of())
    request = Request("m", "infer", 0)
    assert isinstance(decide(plan, Identity(issuer="i", subject="s", groups=("staff",)), request), Permit)
    assert isinstance(decide(plan, Identity(issuer="ci", subject="s", groups=("staff",)), request), Denial)
    assert isinstance(decide(plan, Identity(groups=("staff",)), request), Denial)


def test_a_line_that_asks_only_for_an_issuer_fits_nobody(policy_of):
    plan = resolve(policy_of(roles={"staff": [{"issuer": "i"}, {}]}))
    for identity in (Identity(issuer="i", subject="s"), Identity()):
        assert isinstance(decide(plan, identity, Request("m", "infer", 0)), Denial)


def test_a_workload_that_carries_a_person_has_only_the_persons_roles(policy_of):
    policy = policy_of(
        workloads={"w": {"id": "/w"}},
        roles={"batch": [{"workload": "w"}]},
        grants=[{"id": "g", "roles": ["batch"], "models": "all", "actions": ["infer"]}],
    )
    plan, request = resolve(policy), Request("m", "infer", 0)
    assert isinstance(decide(plan, Identity(workload="w"), request), Permit)
    assert isinstance(decide(plan, Identity(issuer="i", subject="s", workload="w"), request), Denial)


@pytest.mark.parametrize(
    ("profile", "claims", "person"),
    [
        ("oidc", {}, True),
        ("oidc", {"azp": "cli", "client_id": "cli"}, True),
        ("oidc", {"client_id": "s"}, False),
        ("okta", {"sub": "s", "cid": "s"}, False),
        ("entra", {"idtyp": "app", "scp": "use"}, False),
        ("entra", {"roles": ["app"], "oid": "o", "sub": "o"}, False),
        ("entra", {"scp": "use"}, True),
        ("keycloak", {"preferred_username": "service-account-x", "sid": "1"}, False),
        ("keycloak", {"client_id": "x", "sid": "1"}, False),
        ("keycloak", {"sid": "1"}, True),
        ("keycloak", {}, None),
        ("github-actions", {}, False),
    ],
)
def test_programs_are_told_from_people(policy_of, profile, claims, person):
    grant = {"roles": ["staff"], "models": "all", "actions": ["infer"]}
    policy = policy_of(
        issuers={"i": {"profile": profile, "issuer": "https://x.example.com", "audience": "a"}},
        grants=[
            grant | {"id": "people", "when": {"person": "required"}},
            grant | {"id": "programs", "when": {"person": "absent"}},
        ],
    )
    identity = Identity(issuer="i", subject="s", groups=("staff",), claims=claims)
    decision = decide(resolve(policy), identity, Request("m", "infer", 0))
    assert grants_of(decision) == {True: ("people",), False: ("programs",), None: ()}[person]


def test_an_agent_does_not_hide_a_subject_from_a_deny(policy_of):
    policy = policy_of(
        agents={
            "a": {
                "credential": {"issuer": "i", "subject": "bot"},
                "acts_for": ["staff"],
                "models": "all",
                "actions": ["infer"],
            }
        },
        denies=[{"id": "no-bot", "subjects": [{"issuer": "i", "subject": "bot"}]}],
    )
    direct = Identity(issuer="i", subject="s", groups=("staff",))
    through = Identity(issuer="i", subject="s", groups=("staff",), actors=("a",))
    plan, request = resolve(policy), Request("m", "infer", 0)
    assert isinstance(decide(plan, direct, request), Permit)
    refused = decide(plan, through, request)
    assert isinstance(refused, Denial)
    assert refused.reason == "denied_by_rule"


def test_an_agent_brings_only_the_roles_for_which_it_acts(policy_of):
    grant = {"models": "all", "actions": ["infer"]}
    agent = {"credential": {"workload": "w"}, "acts_for": ["staff"], "models": "all", "actions": ["infer"]}
    policy = policy_of(
        workloads={"w": {"id": "/w"}},
        roles={role: [{"issuer": "i", "group": role}] for role in ("staff", "boss")},
        grants=[grant | {"id": "b", "roles": ["boss"]}, grant | {"id": "s", "roles": ["staff"]}],
        agents={
            "a": agent,
            "shallow": agent,
            "deep": agent | {"max_depth": 2},
            "deeper": agent | {"max_depth": 2},
        },
    )
    plan, request = resolve(policy), Request("m", "infer", 0)
    both = Identity(issuer="i", subject="s", groups=("staff", "boss"))
    direct, through = decide(plan, both, request), decide(plan, replace(both, actors=("a",)), request)
    assert (grants_of(direct), direct.roles) == (("b", "s"), ("boss", "staff"))
    assert (grants_of(through), through.roles) == (("s",), ("staff",))
    for chain, permitted in [
        (("deep", "deeper"), True),
        (("deep", "shallow"), False),
        (("deep", "deep"), False),
    ]:
        assert isinstance(decide(plan, replace(both, actors=chain), request), Permit) is permitted


DAY_END = 1795478400  # 2026-11-24T00:00:00Z, where 2026-11-23 ends
PLAIN = {"id": "g", "roles": ["staff"], "models": "all", "actions": ["infer"]}


@pytest.mark.parametrize(
    ("keys", "before", "after"),
    [
        ({"grants": [PLAIN | {"expires": "2026-11-23"}]}, True, False),
        ({"denies": [{"id": "d", "models": "all", "expires": "2026-11-23"}]}, False, True),
        ({"roles": {"staff": [{"issuer": "i", "group": "staff", "until": "2026-11-23"}]}}, True, False),
        ({"grants": [PLAIN | {"when": {"fresh": "1h"}}]}, True, False),
        ({"grants": [PLAIN | {"when": {"hours": "Mon 00:00-24:00 UTC"}}]}, True, False),
        ({"denies": [{"id": "d", "when": {"hours": "Tue 00:00-24:00 UTC"}}]}, True, False),
    ],
)
def test_what_ends_ends_with_its_last_second_and_says_so_before(policy_of, keys, before, after):
    plan = resolve(policy_of(**keys))
    identity = Identity(issuer="i", subject="s", groups=("staff",), authenticated_at=DAY_END - 3600)
    last, first = (decide(plan, identity, Request("m", "infer", at)) for at in (DAY_END - 1, DAY_END))
    assert (isinstance(last, Permit), isinstance(first, Permit)) == (before, after)
    assert last.holds_until == DAY_END


@pytest.mark.parametrize(
    ("attributes", "label", "denied"),
    [({"tenant": "a"}, "a", True), ({"tenant": "b"}, "a", False), ({}, "a", True), ({}, None, False)],
)
def test_what_is_not_known_of_the_caller_does_not_save_it_from_a_deny(policy_of, attributes, label, denied):
    version = {"v1": {"server": "echo", "url": "unix:/run/m.sock"}}
    policy = policy_of(
        models={"m": {"versions": version, "labels": {"tenant": label} if label else {}}},
        denies=[{"id": "own-tenant", "models": {"same": ["tenant"]}}],
    )
    identity = Identity(issuer="i", subject="s", groups=("staff",), attributes=attributes)
    assert isinstance(decide(resolve(policy), identity, Request("m", "infer", 0)), Denial) is denied


@pytest.mark.parametrize(
    ("keys", "permitted"),
    [
        ({"grants": [PLAIN | {"mode": "shadow"}]}, False),
        ({"denies": [{"id": "d", "models": "all", "mode": "shadow"}]}, True),
        ({"denies": [{"id": "d", "subjects": [{"issuer": "i", "subject": "s"}], "mode": "shadow"}]}, True),
        ({"denies": [{"id": "d", "subjects": [{"issuer": "i", "subject": "s"}]}]}, False),
    ],
)
def test_rules_in_shadow_neither_permit_nor_deny(policy_of, keys, permitted):
    identity = Identity(issuer="i", subject="s", groups=("staff",))
    assert (
        isinstance(decide(resolve(policy_of(**keys)), identity, Request("m", "infer", 0)), Permit)
        is permitted
    )
