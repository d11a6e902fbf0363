"""From the policy's text to the plan's values."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from plan_policies import BASE, changed, holdings

from meshward.plan.ir import Member, Plan, Selector
from meshward.plan.permissions import barred_models
from meshward.plan.resolve import resolve
from meshward.policy.schema import ACTIONS, Policy
from meshward.policy.values import Hours, Rate, Route

DAY = 86400
END_OF_JUNE = 1814400000  # 2027-07-01T00:00:00Z


def plan_of(policy: dict) -> Plan:
    return resolve(Policy.model_validate(policy))


@pytest.fixture
def reference(shared_data, policy_at) -> Plan:
    return resolve(policy_at(shared_data / "examples" / "policy.yaml"))


def test_a_key_at_its_default_leaves_the_digest_of_older_policies():
    """A policy with a server kind of its own is no new revision under a release that knows `body_model`."""
    assert "body_model" not in str(Policy.model_validate(BASE).model_dump(mode="json", by_alias=True))
    said, other = (plan_of(changed("servers.echo.body_model", word)) for word in ("unknown", "selects"))
    assert said.digest == plan_of(BASE).digest != other.digest


def test_a_small_policy_whole():
    plan = plan_of(BASE)
    assert (plan.edge.host, plan.edge.port, plan.edge.certificate_path) == ("127.0.0.1", 9443, None)
    assert plan.roles["r"] == (
        Member("i", "g", (), None, None, END_OF_JUNE),
        Member("i", None, (), "s", None, None),
        Member("ci", None, (("repository_id", "1"),), None, None, None),
        Member(None, None, (), None, "w", None),
    )
    assert plan.workloads == {"w": "spiffe://models.example.com/ns/jobs/sa/w"}
    [version] = plan.models["m"].versions
    assert version.dns_name == "v1.m.models.example.com"
    assert version.weight == 100
    assert version.routes == {Route("POST", "/run"): "infer"}
    assert version.health == Route("GET", "/health")
    [grant] = plan.grants
    assert grant.models == Selector(frozenset({"m"}), ("tier",))
    assert grant.limits is not None
    assert grant.limits.requests == Rate(600, 60)
    assert grant.expires == END_OF_JUNE
    assert plan.denies[0].subjects == (("i", "x"),)
    assert (plan.audit.max_blind, plan.audit.retention) == (10, 183 * DAY)


def test_names_become_dns_labels_and_stay_apart():
    version = {"server": "echo", "url": "unix:/run/m.sock"}
    models = {name: {"versions": {"v1.2": version, "v1-2": version}} for name in ("a.b", "a-b", "a_b")}
    names = [
        v.dns_name
        for m in plan_of(changed("models", models) | {"grants": []}).models.values()
        for v in m.versions
    ]
    assert len(set(names)) == 6
    assert all(name.count(".") == 4 for name in names)


@pytest.mark.parametrize(
    ("traffic", "weights"),
    [(None, [100, 100, 100]), ({"v1": 95, "v3": 5}, [95, 0, 5]), ({"v1": 0, "v2": 1}, [0, 1, 0])],
)
def test_weights(traffic, weights):
    version = {"server": "echo", "url": "unix:/run/m.sock"}
    model = {"versions": dict.fromkeys(("v1", "v2", "v3"), version)} | (
        {"traffic": traffic} if traffic else {}
    )
    plan = plan_of(changed("models", {"m": model}) | {"grants": []})
    assert [version.weight for version in plan.models["m"].versions] == weights


def test_where_each_kind_of_issuer_is():
    issuers = {
        "aws": {"profile": "cognito", "region": "eu-west-1", "user_pool": "eu-west-1_Ab12", "clients": ["c"]},
        "ci": {"profile": "github-actions", "audience": ["a", "b"]},
        "own": {"profile": "okta", "issuer": "https://x.okta.com/oauth2/default", "audience": "a"},
    }
    found = plan_of(changed("issuers", issuers) | {"roles": {}, "grants": [], "denies": []}).issuers
    assert found["aws"].url == "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_Ab12"
    assert (found["aws"].audiences, found["aws"].clients) == ((), ("c",))
    assert found["ci"].url == "https://token.actions.githubusercontent.com"
    assert found["ci"].audiences == ("a", "b")
    assert found["own"].url == "https://x.okta.com/oauth2/default"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("grants", [{"id": "g", "roles": ["r"], "models": ["ghost"], "actions": ["infer"]}]),
        ("models.m.versions.v1.server", "ghost"),
        ("servers.echo", {"infer": ["POST /run"], "manage": ["POST /run"]}),
        ("issuers.i.issuer", None),
        ("edge.certificate", {"from": "files"}),
        ("edge.certificate", {"from": "generated", "path": "certs"}),
    ],
)
def test_contradictions_are_not_resolved(key, value):
    with pytest.raises(ValueError, match=r"."):
        plan_of(changed(key, value))


def test_equal_policies_have_equal_plans_and_others_another_digest():
    reordered = {key: BASE[key] for key in reversed(BASE)}
    assert plan_of(reordered) == plan_of(BASE)
    assert plan_of(changed("models.m.timeout", "61s")).digest != plan_of(BASE).digest


def test_the_reference_policy(reference):
    assert list(reference.models) == ["assistant", "handbook", "judge", "minilm"]
    assert reference.aliases == {"Qwen/Qwen3-8B": "assistant", "dummy": "assistant"}
    assert reference.workloads["scorer"] == "spiffe://models.example.com/ns/jobs/sa/scorer"
    grants = {grant.id: grant for grant in reference.grants}
    assert list(grants)[:2] == ["science-public", "science-internal"]
    assert grants["science-public"].models.names == {"minilm", "handbook"}
    assert grants["platform"].models.names == set(reference.models)
    partners = grants["partners"].when
    assert partners is not None
    assert partners.sources == (ip_network("203.0.113.0/24"),)
    assert partners.hours == Hours(frozenset(range(5)), 480, 1080, "Europe/Berlin")
    assert partners.fresh == 12 * 3600
    assert reference.models["assistant"].capture == "sealed"
    assert reference.never[0].unless_via == ("handbook",)
    assert reference.never[0].actions == set(ACTIONS)


def test_who_may_hold_what(reference):
    held = {(holding.permission, holding.role, holding.grant.id) for holding in holdings(reference)}
    assert ("minilm.infer", "batch", "nightly") in held
    assert ("assistant.infer", "contractor", "behind-handbook") in held
    assert not any(role == "data-scientist" and permission == "minilm.manage" for permission, role, _ in held)


def test_a_deny_without_conditions_takes_back_what_grants_give():
    deny = {"id": "no", "roles": ["r"], "actions": ["infer"]}
    for extra, held in [({}, 0), ({"expires": "2027-01-01"}, 1), ({"mode": "shadow"}, 1), ({"when": {}}, 1)]:
        plan = plan_of(changed("denies", [deny | extra]))
        assert len(holdings(plan)) == held
        assert ("m" in barred_models(plan, "r", "infer")) is (held == 0)


def test_rules_in_shadow_give_nothing():
    assert holdings(plan_of(changed("grants", [BASE["grants"][0] | {"mode": "shadow"}]))) == []
