"""A small policy: the group `staff` of the issuer `i` may infer with the model `m`. Keys can be replaced."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from meshward.policy.schema import Policy

_BASE: dict[str, Any] = {
    "version": 1,
    "trust_domain": "models.example.com",
    "issuers": {
        "i": {"profile": "oidc", "issuer": "https://sso.example.com", "audience": "models"},
        "ci": {"profile": "github-actions", "audience": "models"},
    },
    "roles": {"staff": [{"issuer": "i", "group": "staff"}]},
    "servers": {"echo": {"infer": ["POST /run"], "health": "GET /health"}},
    "models": {"m": {"versions": {"v1": {"server": "echo", "url": "unix:/run/m.sock"}}}},
    "grants": [{"id": "g", "roles": ["staff"], "models": "all", "actions": ["infer"]}],
}


@pytest.fixture
def policy_of() -> Callable[..., Policy]:
    return lambda **keys: Policy.model_validate(_BASE | keys)
