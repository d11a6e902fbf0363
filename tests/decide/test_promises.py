"""A policy's own tests, its laws, and what in it can have no effect."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from decide_oracle import day_end

from meshward.check.checking import check
from meshward.check.promises import broken_promises
from meshward.kit.errors import Problem
from meshward.policy.parse import Document, Source, parse

NOW = 1764000000  # November 2025
EXPIRED = "2025-06-30"
STAFF = {"issuer": "i", "groups": ["staff"]}


@pytest.fixture
def document_of(policy_of) -> Callable[..., Document]:
    def document(**keys: Any) -> Document:
        policy = policy_of(**keys).model_dump(mode="json", by_alias=True, exclude_unset=True)
        return parse([Source("policy.yaml", json.dumps(policy, indent=1).encode())])

    return document


def lints(document: Document, now: int = NOW) -> list[Problem]:
    found = check(document, now)
    assert all(problem.severity == "lint" for problem in found)
    assert all(problem.where is not None for problem in found)
    return found


def test_the_reference_policy_keeps_its_promises(shared_data):
    path = shared_data / "examples" / "policy.yaml"
    document = parse([Source("policy.yaml", path.read_bytes())])
    assert check(document, NOW) == []


def test_a_failing_test_names_place_expectation_and_nearest_miss(document_of):
    document = document_of(
        tests=[
            {"as": STAFF, "model": "m", "action": "infer", "expect": "permit"},
            {"as": STAFF, "model": "m", "action": "manage", "expect": "permit"},
            {"as": STAFF, "model": "m", "action": "infer", "expect": "denial"},
        ]
    )
    gone, given = broken_promises(document)
    assert gone.code.number == given.code.number == "MW0501"
    assert "expects a permit and gets a denial" in gone.message
    assert "m.manage" in gone.message
    assert "the nearest grant, g, lacks action manage" in gone.message
    assert "expects a denial and gets a permit: m.infer is given by g" in given.message
    assert gone.where is not None
    assert given.where is not None
    assert gone.where.line < given.where.line
    assert gone.where == document.positions.at(("tests", 1))


def test_no_date_that_passes_makes_a_test_fail(document_of):
    grant = {"id": "g", "roles": ["staff"], "models": "all", "actions": ["infer"], "expires": EXPIRED}
    test = {"as": STAFF, "model": "m", "action": "infer", "expect": "permit"}
    document = document_of(grants=[grant], tests=[test])
    for now in (0, day_end(EXPIRED), 4 * 10**9):
        assert [problem for problem in check(document, now) if problem.severity == "error"] == []


def test_a_caller_in_a_test_has_just_logged_in_unless_it_says_otherwise(document_of):
    grant = {"id": "g", "roles": ["staff"], "models": "all", "actions": ["infer"], "when": {"fresh": "1h"}}
    test = {"model": "m", "action": "infer", "at": "2026-11-23 10:00"}
    old = STAFF | {"authenticated": "2026-11-23 08:59"}
    tests = [test | {"as": STAFF, "expect": "permit"}, test | {"as": old, "expect": "denial"}]
    assert broken_promises(document_of(grants=[grant], tests=tests)) == []


LAW = {
    "id": "law",
    "roles": ["staff"],
    "models": {"labels": {"data": "internal"}},
    "unless": {"via": ["front"]},
}


def versions(name: str) -> dict[str, Any]:
    return {"v1": {"server": "echo", "url": f"unix:/run/{name}.sock"}}


MODELS = {
    "public": {"versions": versions("public"), "labels": {"data": "public"}},
    "secret": {"versions": versions("secret"), "labels": {"data": "internal"}},
    "front": {"versions": versions("front"), "labels": {"data": "public"}, "calls": ["secret"]},
    "other": {"versions": versions("other"), "calls": ["secret"]},
}
ROLES = {"staff": [{"issuer": "i", "group": "staff"}], "boss": [{"issuer": "i", "group": "boss"}]}


@pytest.mark.parametrize(
    ("grant", "denies", "broken"),
    [
        ({"models": ["public"]}, [], False),
        ({"models": ["secret"]}, [], True),
        ({"models": "all"}, [], True),
        ({"models": ["secret"], "roles": ["boss"]}, [], False),
        ({"models": ["secret"], "roles": ["boss", "staff"]}, [], True),
        ({"models": ["secret"], "expires": EXPIRED}, [], True),
        ({"models": ["secret"], "on_request": {"for": "1h"}}, [], True),
        ({"models": ["secret"], "mode": "shadow"}, [], False),
        ({"models": ["secret"], "when": {"person": "required"}}, [], True),
        ({"models": ["secret"], "when": {"via": ["front"]}}, [], False),
        ({"models": ["secret"], "when": {"via": ["front", "other"]}}, [], True),
        ({"models": ["secret"]}, [{"id": "d", "roles": ["staff"], "models": ["secret"]}], False),
        ({"models": ["secret"]}, [{"id": "d", "roles": ["boss"], "models": ["secret"]}], True),
        ({"models": ["secret"]}, [{"id": "d", "models": ["secret"], "actions": ["manage"]}], True),
        ({"models": ["secret"]}, [{"id": "d", "models": ["secret"], "expires": "2099-01-01"}], True),
        ({"models": ["secret"]}, [{"id": "d", "models": ["secret"], "when": {"person": "absent"}}], True),
        ({"models": ["secret"]}, [{"id": "d", "models": ["secret"], "mode": "shadow"}], True),
        (
            {"models": ["secret"]},
            [{"id": "d", "models": ["secret"], "subjects": [{"issuer": "i", "subject": "s"}]}],
            True,
        ),
    ],
)
def test_a_law_is_proven_over_all_grants(document_of, grant, denies, broken):
    whole = {"id": "the-grant", "roles": ["staff"], "actions": ["infer", "describe"]} | grant
    document = document_of(models=MODELS, roles=ROLES, grants=[whole], denies=denies, never=[LAW])
    problems = broken_promises(document)
    assert bool(problems) is broken
    for problem in problems:
        assert (problem.code.number, problem.severity) == ("MW0502", "error")
        assert "the law law is broken by the grant the-grant" in problem.message
        assert "secret.infer to staff" in problem.message
        assert problem.where == document.positions.at(("never", 0))


def test_a_broken_law_tells_the_permissions_model_by_model(document_of):
    grant = {"id": "g", "roles": ["staff"], "models": "all", "actions": ["infer", "describe"]}
    law = LAW | {"models": "all"}
    (problem,) = broken_promises(document_of(models=MODELS, roles=ROLES, grants=[grant], never=[law]))
    first, second = sorted(MODELS)[:2]
    told = [f"{first}.infer to staff", f"{first}.describe to staff", f"{second}.infer to staff"]
    assert f"which gives {', '.join(told)}" in problem.message


def test_a_law_may_speak_of_some_actions_only(document_of):
    grant = {"id": "g", "roles": ["staff"], "models": "all", "actions": ["infer"]}
    law = LAW | {"actions": ["manage"]}
    assert broken_promises(document_of(models=MODELS, roles=ROLES, grants=[grant], never=[law])) == []


@pytest.mark.parametrize(
    ("keys", "why"),
    [
        ({"roles": {"staff": []}}, "can have no members"),
        ({"grants": [{"models": {"labels": {"tier": "none"}}}]}, "no model has these labels"),
        ({"denies": [{"id": "d", "models": ["m"]}]}, "denies take back all that it gives"),
        ({"grants": [{"when": {"via": ["m"]}}]}, "`calls` of m"),
        ({"grants": [{"models": {"same": ["tenant"]}}]}, "has the label tenant"),
    ],
)
def test_a_grant_that_can_never_hold_is_a_lint(document_of, keys, why):
    base = {"id": "g", "roles": ["staff"], "models": "all", "actions": ["infer"]}
    issuer = {
        "profile": "oidc",
        "issuer": "https://sso.example.com",
        "audience": "a",
        "attributes": {"tenant": "/t"},
    }
    keys = {"issuers": {"i": issuer}} | keys
    document = document_of(**keys | {"grants": [base | grant for grant in keys.get("grants", [{}])]})
    [lint] = [lint for lint in lints(document) if lint.code.number == "MW0510"]
    assert "the grant g can never hold" in lint.message
    assert why in lint.message


def test_what_is_over_is_a_lint_from_its_day_on(document_of):
    document = document_of(
        roles={"staff": [{"issuer": "i", "group": "staff", "until": EXPIRED}]},
        grants=[{"id": "g", "roles": ["staff"], "models": "all", "actions": ["infer"], "expires": EXPIRED}],
        denies=[{"id": "d", "models": "all", "expires": EXPIRED}],
    )
    end = day_end(EXPIRED)
    assert lints(document, end - 1) == []
    found = lints(document, end)
    assert [lint.code.number for lint in found] == ["MW0511"] * 3
    assert all(EXPIRED in lint.message for lint in found)


def test_idle_denies_and_agents_are_lints(document_of):
    document = document_of(
        roles={"staff": [{"issuer": "i", "group": "staff"}], "empty": []},
        workloads={"w": {"id": "/w"}},
        denies=[{"id": "d", "roles": ["empty"]}],
        agents={
            "a": {
                "credential": {"workload": "w"},
                "acts_for": ["empty"],
                "models": "all",
                "actions": ["infer"],
            }
        },
    )
    assert {"MW0512", "MW0513"} <= {lint.code.number for lint in lints(document)}
