"""A policy of which `up` enforces every word, and changes to it."""

from __future__ import annotations

import copy
from typing import Any

from meshward.plan.ir import Plan
from meshward.plan.permissions import Holding, holdings_of

BASE: dict[str, Any] = {
    "version": 1,
    "trust_domain": "models.example.com",
    "edge": {"listen": "127.0.0.1:9443", "hostname": "models.example.com"},
    "issuers": {
        "i": {
            "profile": "oidc",
            "issuer": "https://sso.example.com",
            "audience": "a",
            "groups": "/groups",
            "attributes": {"tenant": "/org", "site": "here"},
        },
        "ci": {"profile": "github-actions", "audience": "a"},
    },
    "workloads": {"w": {"id": "/ns/jobs/sa/w"}},
    "roles": {
        "r": [
            {"issuer": "i", "group": "g", "until": "2027-06-30"},
            {"issuer": "i", "subject": "s"},
            {"issuer": "ci", "claims": {"repository_id": "1"}},
            {"workload": "w"},
        ]
    },
    "servers": {"echo": {"infer": ["POST /run"], "health": "GET /health"}},
    "models": {
        "m": {"labels": {"tier": "cpu"}, "versions": {"v1": {"server": "echo", "url": "unix:/run/m.sock"}}}
    },
    "grants": [
        {
            "id": "g",
            "roles": ["r"],
            "models": {"labels": {"tier": "cpu"}, "same": ["tier"]},
            "actions": ["infer"],
            "when": {
                "from": ["10.0.0.0/8"],
                "hours": "Mon-Fri 08:00-18:00 Europe/Berlin",
                "fresh": "12h",
                "person": "required",
                "actor": "absent",
            },
            "limits": {"requests": "600/min", "per": "grant"},
            "expires": "2027-06-30",
        }
    ],
    "denies": [{"id": "d", "subjects": [{"issuer": "i", "subject": "x"}], "expires": "2027-06-30"}],
}


def changed(key: str, value: Any) -> dict[str, Any]:
    """`BASE` with the value at the dotted `key` replaced."""
    policy = copy.deepcopy(BASE)
    *way, last = key.split(".")
    node = policy
    for step in way:
        node = node.setdefault(step, {})
    node[last] = value
    return policy


def holdings(plan: Plan) -> list[Holding]:
    """Everything that some grant gives and no deny always takes back. Grants in the policy's order."""
    return [held for grant in plan.grants for held in holdings_of(plan, grant)]
