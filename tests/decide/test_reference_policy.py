"""The reference policy, role by model: what each may do there, written by hand."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pytest

from meshward.decide.decide import decide
from meshward.decide.types import Identity, Permit, Request
from meshward.plan.ir import Plan
from meshward.plan.resolve import resolve
from meshward.policy.parse import Source, parse
from meshward.policy.schema import ACTIONS

MONDAY = 1795428000  # 2026-11-23 10:00 UTC, 11:00 in Berlin
EVENING = MONDAY + 7 * 3600  # 18:00 in Berlin, when partners' hours end
FRESH = {"subject": "00u1", "authenticated_at": MONDAY - 60}

WHO: dict[str, dict[str, Any]] = {
    "data-scientist": {"issuer": "okta", "groups": ("data-science",), **FRESH},
    "data-scientist by Cognito": {"issuer": "aws", "groups": ("ds",), **FRESH},
    "contractor": {"issuer": "okta", "groups": ("partners",), **FRESH},
    "ml-platform": {"issuer": "keycloak", "groups": ("ml-platform",), **FRESH},
    "leaver": {"issuer": "okta", "groups": ("ml-platform",), "subject": "00u1a2b3c4D5e6F7g8h9"},
    "release-bot": {"issuer": "ci", "claims": {"repository_id": "701233", "environment": "production"}},
    "batch": {"workload": "scorer"},
    "data-scientist by an agent": {
        "issuer": "okta",
        "groups": ("data-science",),
        "actors": ("research-agent",),
    },
    "nobody": {"issuer": "okta", "groups": ("sales",), **FRESH},
}
SCIENCE = {"minilm": "infer describe", "handbook": "infer describe", "assistant": "infer", "judge": "infer"}
EVERYTHING = dict.fromkeys(SCIENCE, "infer describe observe manage")
TABLE: list[tuple[str, dict[str, Any], dict[str, str]]] = [
    # who, what of the request is special, and what may be done with each model
    ("data-scientist", {}, SCIENCE),
    ("data-scientist by Cognito", {}, SCIENCE),
    ("data-scientist", {"via": "handbook"}, {"minilm": "infer", "assistant": "infer"}),
    ("data-scientist", {"via": "minilm"}, {}),
    ("contractor", {}, {"minilm": "infer", "handbook": "infer"}),
    ("contractor", {"at": EVENING}, {}),
    ("contractor", {"source": ip_address("192.0.2.1")}, {}),
    ("contractor", {"via": "handbook"}, {"minilm": "infer", "assistant": "infer"}),
    ("ml-platform", {}, EVERYTHING),
    ("ml-platform", {"via": "handbook"}, {}),
    ("leaver", {}, {}),
    ("release-bot", {}, {}),
    ("batch", {}, {"minilm": "infer"}),
    ("data-scientist by an agent", {}, {"minilm": "infer", "assistant": "infer"}),
    ("nobody", {}, {}),
]


@pytest.fixture
def plan(shared_data) -> Plan:
    text = (shared_data / "examples" / "policy.yaml").read_bytes()
    return resolve(parse([Source("policy.yaml", text)]).policy)


@pytest.mark.parametrize(("who", "special", "permitted"), TABLE)
def test_each_role_may_do_with_each_model_what_is_written(plan, who, special, permitted):
    asked = {"at": MONDAY, "source": ip_address("203.0.113.9"), **special}
    found = {}
    for model in plan.models:
        requests = {action: Request(model, action, **asked) for action in ACTIONS}
        found[model] = {
            action
            for action, request in requests.items()
            if isinstance(decide(plan, Identity(**WHO[who]), request), Permit)
        }
    assert found == {model: set(permitted.get(model, "").split()) for model in plan.models}
