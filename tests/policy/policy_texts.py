"""A small policy that is valid, ways to change it, and what `parse` says of the result."""

from __future__ import annotations

import copy
import json
from itertools import pairwise
from typing import Any

from meshward.kit.errors import PolicyInvalid, Problem
from meshward.policy.parse import Document, Source, parse

BASE: dict[str, Any] = {
    "version": 1,
    "trust_domain": "models.example.com",
    "issuers": {
        "okta": {
            "profile": "okta",
            "issuer": "https://example.okta.com/oauth2/default",
            "audience": "api://models",
            "attributes": {"tenant": "/org"},
        }
    },
    "workloads": {"scorer": {"id": "/ns/jobs/sa/scorer"}},
    "roles": {"staff": [{"issuer": "okta", "group": "staff"}], "batch": [{"workload": "scorer"}]},
    "credentials": {"hf": {"from": "env", "name": "HF_TOKEN"}},
    "servers": {"own": {"infer": ["POST /ask"], "describe": ["GET /info"], "health": "GET /health"}},
    "models": {
        "minilm": {
            "labels": {"data": "public"},
            "versions": {
                "v1": {"server": "tei", "url": "unix:/run/m/v1.sock"},
                "v2": {"server": "tei", "url": "http://127.0.0.1:8082", "credential": "hf"},
            },
        },
        "book": {"versions": {"v1": {"server": "own", "url": "http://127.0.0.1:9000"}}, "calls": ["minilm"]},
    },
    "grants": [{"id": "g", "roles": ["staff"], "models": ["minilm"], "actions": ["infer"]}],
    "agents": {
        "helper": {
            "credential": {"workload": "scorer"},
            "acts_for": ["staff"],
            "models": "all",
            "actions": ["infer"],
        }
    },
}

Path = tuple[str | int, ...]


def changed(path: Path, value: object) -> dict[str, Any]:
    """BASE with `value` at `path`; a list is filled up to an index just behind its end."""
    policy = copy.deepcopy(BASE)
    node: Any = policy
    for step, following in pairwise(path):
        if isinstance(node, list) and step == len(node):
            node.append({})
        elif isinstance(node, dict) and step not in node:
            node[step] = [] if isinstance(following, int) else {}
        node = node[step]
    if isinstance(node, list) and path[-1] == len(node):
        node.append(value)
    else:
        node[path[-1]] = value
    return policy


def without(path: Path) -> dict[str, Any]:
    policy = copy.deepcopy(BASE)
    node: Any = policy
    for step in path[:-1]:
        node = node[step]
    del node[path[-1]]
    return policy


def read(policy: dict[str, Any] | str) -> Document:
    text = policy if isinstance(policy, str) else json.dumps(policy, indent=1, ensure_ascii=False)
    return parse([Source("policy.yaml", text.encode())])


def refusals(policy: dict[str, Any] | str) -> list[Problem]:
    """The problems for which a policy is refused; none if it is not."""
    try:
        read(policy)
    except PolicyInvalid as error:
        return error.problems
    return []


def refusal(policy: dict[str, Any] | str) -> Problem:
    """The one problem for which a policy is refused."""
    (problem,) = refusals(policy)
    return problem
