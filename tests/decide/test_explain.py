"""What a person is told about a decision."""

from __future__ import annotations

import json
from dataclasses import replace
from ipaddress import ip_address

import pytest

from meshward.decide.explain import explain
from meshward.decide.identities import identity_from_claims
from meshward.decide.reasons import REFUSALS, STATUS
from meshward.decide.types import Denial, Identity, Permit, Request
from meshward.kit.errors import MeshwardError
from meshward.plan.ir import Plan
from meshward.plan.resolve import resolve
from meshward.policy.parse import Source, parse
from meshward.policy.schema import As

MONDAY = 1795428000  # 2026-11-23 10:00 UTC, 11:00 in Berlin
INFER = Request("minilm", "infer", MONDAY)


@pytest.fixture
def plan(shared_data) -> Plan:
    return resolve(
        parse([Source("policy.yaml", (shared_data / "examples" / "policy.yaml").read_bytes())]).policy
    )


def person(*groups: str, issuer: str = "okta", authenticated_at: int | None = MONDAY - 60) -> Identity:
    return Identity(issuer=issuer, subject="00u1", groups=groups, authenticated_at=authenticated_at)


def refused(plan: Plan, identity: Identity, request: Request) -> Denial:
    decision = explain(plan, identity, request).decision
    assert isinstance(decision, Denial)
    return decision


def test_a_permit_names_grants_roles_and_limits(plan):
    story = explain(plan, person("data-science"), INFER)
    assert isinstance(story.decision, Permit)
    text = "\n".join(story.lines())
    assert text.startswith("permit: minilm.infer\n")
    assert "grant science-public pays (600/1m requests per identity)" in text
    assert "role data-scientist: from okta group data-science" in text
    told = json.loads(json.dumps(story.as_json()))
    assert (told["decision"], told["pays"], told["subject"]) == ("permit", "science-public", "okta:00u1")


def test_somebody_without_a_role_is_told_which_and_where_from(plan):
    story = explain(plan, person("sales"), INFER)
    denial = refused(plan, person("sales"), INFER)
    assert denial.reason == "identity_without_role"
    assert "role data-scientist (from okta group data-science)" in denial.sentence
    assert "roles: none" in "\n".join(story.lines())
    told = json.loads(json.dumps(story.as_json()))
    assert (told["decision"], told["reason"]) == ("denial", "identity_without_role")
    assert told["misses"][0] == {
        "grant": "science-public",
        "lacks": ["role data-scientist (from okta group data-science)"],
    }


def test_misses_name_the_callers_own_issuer_and_no_other_subject(plan):
    denial = refused(plan, person("sales", issuer="aws"), INFER)
    assert "role data-scientist (from aws group ds)" in denial.sentence
    keycloak = refused(plan, person("sales", issuer="keycloak"), INFER)
    assert keycloak.misses[0].lacks == ("role data-scientist (from okta group data-science or aws group ds)",)


def test_misses_are_sorted_nearest_first(plan):
    for model in plan.models:
        for groups in (("data-science",), ("partners",), ("sales",)):
            decision = explain(plan, person(*groups), Request(model, "manage", MONDAY)).decision
            if isinstance(decision, Denial):
                counts = [len(miss.lacks) for miss in decision.misses]
                assert counts == sorted(counts)
                assert decision.misses[0].grant in ("platform", "night-shift")


@pytest.mark.parametrize(
    ("change", "lack"),
    [
        ({"source": None}, "a request from 203.0.113.0/24 (its address is not known)"),
        ({"source": ip_address("192.0.2.1")}, "a request from 203.0.113.0/24 (it came from 192.0.2.1)"),
        ({"at": MONDAY + 9 * 3600}, "a time within Mon-Fri 08:00-18:00 Europe/Berlin"),
    ],
)
def test_a_condition_that_is_not_met_is_named(plan, change, lack):
    identity = person("partners", authenticated_at=MONDAY - 60)
    request = Request("handbook", "infer", MONDAY, ip_address("203.0.113.9"))
    assert isinstance(explain(plan, identity, request).decision, Permit)
    denial = refused(plan, identity, replace(request, **change))
    assert denial.reason == "condition_not_met"
    assert lack in denial.sentence


def test_an_old_login_is_named(plan):
    request = Request("handbook", "infer", MONDAY, ip_address("::ffff:203.0.113.9"))
    assert isinstance(explain(plan, person("partners"), request).decision, Permit)
    denial = refused(plan, person("partners", authenticated_at=MONDAY - 12 * 3600), request)
    assert "a login less than 12h old" in denial.sentence


def test_a_membership_that_ended_is_named(plan):
    after = replace(INFER, at=1806600000)  # 1 April 2027
    denial = refused(plan, person("partners"), after)
    assert denial.reason == "identity_without_role"
    lacks = [lack for miss in denial.misses for lack in miss.lacks]
    assert any("role contractor (the membership ended on 2027-03-31)" in lack for lack in lacks)
    assert "role contractor: from okta group partners, but its time is over" in "\n".join(
        explain(plan, person("partners"), after).lines()
    )


def test_a_grant_that_sleeps_is_named(plan):
    denial = refused(plan, person("data-science"), Request("assistant", "manage", MONDAY))
    assert denial.reason == "condition_not_met"
    assert "sleeps" in denial.sentence


def test_a_rule_that_denies_is_named(plan):
    leaver = Identity(issuer="okta", subject="00u1a2b3c4D5e6F7g8h9", groups=("ml-platform",))
    denial = refused(plan, leaver, INFER)
    assert denial.reason == "denied_by_rule"
    assert "the rule leaver" in denial.sentence


@pytest.mark.parametrize(
    ("groups", "model", "via", "reason"),
    [
        (("partners",), "assistant", "handbook", None),
        (("partners",), "assistant", None, "condition_not_met"),
        (("partners",), "judge", "handbook", "call_not_declared"),
        (("partners",), "minilm", "assistant", "call_not_declared"),
        (("ml-platform",), "minilm", "handbook", "condition_not_met"),
        (("ml-platform",), "minilm", "ghost", "call_not_declared"),
    ],
)
def test_calls_from_model_to_model(plan, groups, model, via, reason):
    decision = explain(plan, person(*groups), Request(model, "infer", MONDAY, via=via)).decision
    assert getattr(decision, "reason", None) == reason


@pytest.mark.parametrize(
    ("groups", "model", "action", "actors", "permitted"),
    [
        (("data-science",), "minilm", "infer", ("research-agent",), True),
        (("data-science",), "handbook", "infer", ("research-agent",), False),
        (("data-science",), "minilm", "describe", ("research-agent",), False),
        (("ml-platform",), "minilm", "infer", ("research-agent",), False),
        (("sales",), "minilm", "infer", ("research-agent",), False),
        (("data-science",), "minilm", "infer", ("ghost",), False),
        (("data-science",), "minilm", "infer", ("research-agent", "research-agent"), False),
    ],
)
def test_an_agent_may_do_no_more_than_both(plan, groups, model, action, actors, permitted):
    identity = replace(person(*groups), actors=actors)
    decision = explain(plan, identity, Request(model, action, MONDAY)).decision
    assert isinstance(decision, Permit) is permitted
    if not permitted:
        assert decision.reason == "actor_unauthorized"
        assert actors[0] in decision.sentence


def test_an_alias_is_understood(plan):
    story = explain(plan, person("ml-platform"), Request("Qwen/Qwen3-8B", "infer", MONDAY))
    assert story.decision.permission == "assistant.infer"
    assert isinstance(story.decision, Permit)


def test_every_reason_that_comes_out_is_in_the_catalogue(plan):
    assert all(STATUS[refusal.reason] == refusal.status for refusal in REFUSALS)
    for model in [*plan.models, "ghost"]:
        for groups in (("sales",), ("data-science",), ("partners",)):
            decision = explain(plan, person(*groups), Request(model, "observe", MONDAY)).decision
            assert decision.reason in STATUS


def test_identities_from_what_a_person_writes(plan):
    claims = {"org": "acme", "acr": 3}
    identity = identity_from_claims(plan, As(issuer="okta", groups=["a"], claims=claims), MONDAY)
    assert identity.attributes == {"tenant": "acme"}
    assert identity.authenticated_at == MONDAY
    explicit = As(
        issuer="okta", claims=claims, attributes={"tenant": "other"}, authenticated="2026-11-23 10:00"
    )
    identity = identity_from_claims(plan, explicit)
    assert identity.attributes == {"tenant": "other"}
    assert identity.authenticated_at == MONDAY
    assert identity_from_claims(plan, As(workload="scorer")).name == "workload:scorer"


@pytest.mark.parametrize("who", [As(issuer="ghost"), As(workload="ghost"), As(issuer="okta", actor="ghost")])
def test_an_identity_of_nobody_known_is_a_usage_error(plan, who):
    with pytest.raises(MeshwardError, match="ghost") as error:
        identity_from_claims(plan, who)
    assert error.value.exit_code == 2
