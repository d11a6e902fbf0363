"""Nothing that a policy says is ignored: each key of the format is enforced, checked, or refused by name."""

from __future__ import annotations

import typing
from collections.abc import Iterator
from typing import Any

import pytest
from plan_policies import BASE, changed
from pydantic import BaseModel

from meshward.plan.enforced import STANDING, NotYet, Standing, not_yet_enforced, spelling
from meshward.policy.schema import Policy


def classes_in(hint: Any) -> Iterator[type[BaseModel]]:
    """Every mapping of the format that a type mentions."""
    hint = getattr(hint, "__value__", hint)
    if isinstance(hint, type) and issubclass(hint, BaseModel):
        yield hint
    for argument in typing.get_args(hint):
        yield from classes_in(argument)


def keys_of(model: type[BaseModel]) -> dict[str, Any]:
    return {f"{model.__name__}.{spelling(name, field)}": field for name, field in model.model_fields.items()}


def reached(model: type[BaseModel], seen: dict[str, Any]) -> dict[str, Any]:
    """The keys of `model` and of the mappings below it, save below keys that are refused as a whole."""
    for key, field in keys_of(model).items():
        if key in seen:
            continue
        seen[key] = field
        if STANDING.get(key) in (Standing.ENFORCED, None):
            for child in classes_in(field.annotation):
                reached(child, seen)
    return seen


def test_every_key_has_a_standing():
    assert set(reached(Policy, {})) == set(STANDING)


def test_codes_are_not_shared_by_different_sentences():
    sentences: dict[str, set[str]] = {}
    for standing in STANDING.values():
        if isinstance(standing, NotYet):
            sentences.setdefault(standing.code, set()).add(standing.sentence)
    assert all(len(texts) == 1 for texts in sentences.values())


def test_no_default_is_refused():
    for key, field in reached(Policy, {}).items():
        standing = STANDING[key]
        if isinstance(standing, NotYet) and not field.is_required():
            assert not standing.refused(field.get_default(call_default_factory=True)), key


def test_what_up_enforces_passes():
    assert not_yet_enforced(Policy.model_validate(BASE)) == []


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
    ("models.m.versions.v1.model", "Org/Name", "models.m.versions.v1.model"),
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
    ("audit.retention", "90d", "audit.retention"),
    ("audit.max_blind", "20s", "audit.max_blind"),
    ("audit.on_blind", "alert", "audit.on_blind"),
]


@pytest.mark.parametrize(("key", "value", "place"), REFUSED)
def test_what_up_has_not_yet_is_refused_by_name(key, value, place):
    problems = not_yet_enforced(Policy.model_validate(changed(key, value)))
    named = [problem for problem in problems if problem.message.startswith(f"`{place}`: ")]
    assert len(named) == 1
    assert named[0].code.startswith("MW1")
    assert named[0].severity == "error"
    assert named[0].remedy


def test_every_refusal_is_tried_here():
    codes = {
        problem.code
        for key, value, _ in REFUSED
        for problem in not_yet_enforced(Policy.model_validate(changed(key, value)))
    }
    assert codes == {standing.code for standing in STANDING.values() if isinstance(standing, NotYet)}


def test_a_key_without_standing_is_refused(monkeypatch):
    monkeypatch.delitem(STANDING, "Model.timeout")
    problems = not_yet_enforced(Policy.model_validate(BASE))
    assert [problem.code for problem in problems] == ["MW1032"]
    assert "models.m.timeout" in problems[0].message


def test_the_reference_policy_is_refused_feature_by_feature(shared_data, policy_at):
    problems = not_yet_enforced(policy_at(shared_data / "examples" / "policy.yaml"))
    named = " ".join(problem.message for problem in problems)
    for word in ("agents", "tokens", "when.via", "on_request", "calls", "sealed"):
        assert word in named
