"""Nothing that a policy says is ignored: each key of the format asks for features, is checked, or is refused."""

from __future__ import annotations

from typing import Any

import pytest
from plan_policies import BASE, changed
from pydantic import BaseModel
from tests.classes import classes_in

from meshward.apply.local_paths import LOCAL
from meshward.kit.errors import Problem
from meshward.plan.coverage import enforcers, find_unenforced
from meshward.plan.features import Feature
from meshward.plan.requirements import KEYS, Checked, key_in_file, requirements
from meshward.policy.schema import Policy


def keys_of(model: type[BaseModel]) -> dict[str, Any]:
    return {
        f"{model.__name__}.{key_in_file(name, field)}": field for name, field in model.model_fields.items()
    }


def reached(model: type[BaseModel], seen: dict[str, Any]) -> dict[str, Any]:
    """The keys of `model` and of the mappings below it, save below keys that are for `check` alone."""
    for key, field in keys_of(model).items():
        if key in seen:
            continue
        seen[key] = field
        if not isinstance(KEYS.get(key), Checked):
            for child in classes_in(field.annotation):
                reached(child, seen)
    return seen


def refusals(policy: Policy) -> list[Problem]:
    """What `up` refuses of it on this machine."""
    return find_unenforced(requirements(policy), LOCAL)


ENFORCED = {feature for feature in Feature if any(enforcers(path, feature) for path in LOCAL)}


def test_every_key_asks_for_something_or_is_known_not_to():
    assert set(reached(Policy, {})) == set(KEYS)


def test_every_feature_is_asked_for_by_a_key_or_by_every_request():
    """One that nothing asks for would never be proven of a path."""
    by_keys = {need.feature for row in KEYS.values() if not isinstance(row, Checked) for need in row}
    always = set(requirements(Policy.model_validate(BASE)))
    assert by_keys | always | {Feature.UNKNOWN_KEY} == set(Feature)


def test_a_code_stands_for_one_feature():
    codes = [feature.code.number for feature in Feature]
    assert sorted(codes) == sorted(set(codes)) and all(code.startswith("MW10") for code in codes)


def test_no_default_is_refused():
    for key, field in reached(Policy, {}).items():
        row = KEYS[key]
        if not isinstance(row, Checked) and not field.is_required():
            default = field.get_default(call_default_factory=True)
            assert {need.feature for need in row if need.asked(default)} <= ENFORCED, key


def test_what_up_enforces_passes():
    assert refusals(Policy.model_validate(BASE)) == []
    named = Policy.model_validate(changed("models.m.versions.v1.model", "Org/Name"))
    assert Feature.BODY_MODEL in requirements(named) and refusals(named) == []
    for key, value in (("retention", "90d"), ("max_disk", "20g")):
        bounded = Policy.model_validate(changed(f"audit.{key}", value))
        assert Feature.RETENTION in requirements(bounded) and refusals(bounded) == []


GRANT = {"id": "g", "roles": ["r"], "models": "all", "actions": ["infer"]}
HOSTED = {"server": "inference-endpoint", "url": "https://x.endpoints.huggingface.cloud"}
AGENT = {"credential": {"workload": "w"}, "acts_for": ["r"], "models": "all", "actions": ["infer"]}
REFUSED = [
    ("agents", {"a": AGENT}, "agents"),
    ("operators", {"audit": ["r"]}, "operators.audit"),
    ("operators", {"open": ["r"]}, "operators.open"),
    ("operators", {"erase": ["r"]}, "operators.erase"),
    ("edge.trusted_proxies", ["10.0.0.0/24"], "edge.trusted_proxies"),
    ("models.m.versions.v1", HOSTED, "models.m.versions.v1.server"),
    ("models.m.versions.v1", HOSTED, "models.m.versions.v1.url"),
    ("models.m.versions.v1.replicas", ["https://x.example.com"], "models.m.versions.v1.replicas"),
    ("models.m.cache", {"ttl": "1m"}, "models.m.cache"),
    ("models.m.audit", {"capture": "sealed"}, "models.m.audit.capture"),
    ("models.m.calls", ["m"], "models.m.calls"),
    ("grants", [GRANT | {"when": {"via": ["m"]}}], "grants[g].when.via"),
    ("grants", [GRANT | {"limits": {"requests": "5/hour"}}], "grants[g].limits.requests"),
    ("grants", [GRANT | {"limits": {"tokens": "5/s"}}], "grants[g].limits.tokens"),
    ("grants", [GRANT | {"limits": {"concurrent": 4}}], "grants[g].limits.concurrent"),
    ("grants", [GRANT | {"limits": {"requests": "5/s", "per": "tenant"}}], "grants[g].limits.per"),
    ("grants", [GRANT | {"on_request": {"for": "2h"}}], "grants[g].on_request"),
    ("grants", [GRANT | {"mode": "shadow"}], "grants[g].mode"),
    ("denies", [{"id": "d", "when": {"via": ["m"]}}], "denies[d].when.via"),
    ("denies", [{"id": "d", "roles": ["r"], "mode": "shadow"}], "denies[d].mode"),
    ("audit.capture", "off", "audit.capture"),
    ("audit.seal_to", ["key.pub"], "audit.seal_to"),
    ("audit.max_blind", "20s", "audit.max_blind"),
    ("audit.on_blind", "alert", "audit.on_blind"),
]


SENTENCES = {
    "MW1001": "token exchange for agents does not exist yet",
    "MW1003": "records of others are read on the machine alone, by its owner",
    "MW1006": "the edge does not yet believe any proxy's X-Forwarded-For",
    "MW1012": "hosted Inference Endpoints are not yet reached",
    "MW1013": "servers behind https are not yet reached",
    "MW1016": "answers are not yet cached",
    "MW1018": "capture modes other than `digest` are not yet recorded",
    "MW1019": "calls from model to model are not yet let through",
    "MW1021": "request limits per hour or day are not yet counted",
    "MW1022": "budgets of tokens are not yet counted",
    "MW1023": "requests at the same time are not yet counted",
    "MW1024": "limits per attribute are not yet counted",
    "MW1025": "grants cannot yet be asked for",
    "MW1026": "rules in shadow are not yet compared with what was decided",
    "MW1028": "records are not yet sealed",
    "MW1030": "the bound is fixed at its default",
    "MW1031": "going on while records are lost is not offered yet",
    "MW1032": "`up` does not know this key",
    "MW1033": "calls from model to model are not yet let through",
    "MW1034": "there are no sealed texts yet that anybody could open",
    "MW1035": "records are not yet erased on anybody's wish",
}


@pytest.mark.parametrize(("key", "value", "place"), REFUSED)
def test_what_up_has_not_yet_is_refused_by_name(key, value, place):
    problems = refusals(Policy.model_validate(changed(key, value)))
    named = [problem for problem in problems if problem.message.startswith(f"`{place}`: ")]
    assert len(named) == 1
    assert named[0].message == f"`{place}`: {SENTENCES[named[0].code.number]}"
    assert named[0].severity == "error"
    assert named[0].remedy


def test_every_refusal_is_tried_here():
    codes = {
        problem.code.number
        for key, value, _ in REFUSED
        for problem in refusals(Policy.model_validate(changed(key, value)))
    }
    assert codes == {
        feature.code.number for feature in Feature if feature not in ENFORCED | {Feature.UNKNOWN_KEY}
    }


def test_a_key_that_nobody_knows_is_refused(monkeypatch):
    monkeypatch.delitem(KEYS, "Model.timeout")
    problems = refusals(Policy.model_validate(BASE))
    assert [problem.code.number for problem in problems] == ["MW1032"]
    assert "models.m.timeout" in problems[0].message


def test_the_reference_policy_is_refused_feature_by_feature(shared_data, policy_at):
    problems = refusals(policy_at(shared_data / "examples" / "policy.yaml"))
    named = " ".join(problem.message for problem in problems)
    for word in ("agents", "tokens", "when.via", "on_request", "calls", "sealed"):
        assert word in named
