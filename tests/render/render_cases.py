"""A policy of which a site loses nothing, and changes to it."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from meshward.plan.ir import Plan
from meshward.plan.resolve import resolve
from meshward.policy.schema import Policy
from meshward.policy.site import SiteDocument, parse_site
from meshward.policy.tree import Source

BASE: dict[str, Any] = {
    "version": 1,
    "trust_domain": "models.example.com",
    "edge": {"listen": "127.0.0.1:9443", "hostname": "models.example.com"},
    "issuers": {
        "i": {"profile": "oidc", "issuer": "https://sso.example.com", "audience": "a", "groups": "/groups"}
    },
    "roles": {"r": [{"issuer": "i", "group": "g"}]},
    "servers": {"plain": {"infer": ["POST /run"]}},
    "models": {
        "a": {"versions": {"v1": {"server": "plain", "url": "http://127.0.0.1:8001"}}},
        "b": {"versions": {"v1": {"server": "plain", "url": "http://127.0.0.1:8002"}}},
    },
    "grants": [{"id": "g", "roles": ["r"], "models": "all", "actions": ["infer"]}],
}
SERVICE = "{namespace: models, service: %s, port: 8080, select: {app: %s}}"
SITE = f"""\
version: 1
trust_domain: cluster.local
models:
  a: {{v1: {SERVICE % ("a", "a")}}}
  b: {{v1: {{guard: "gpu1.internal:8443"}}}}
"""
KEY = {
    "kty": "EC",
    "crv": "P-256",
    "alg": "ES256",
    "use": "sig",
    "kid": "k1",
    "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
}


def policy_of(**over: Any) -> dict[str, Any]:
    """`BASE` with the keys of `over` in place of its own."""
    return {**copy.deepcopy(BASE), **over}


def plan_of(**over: Any) -> Plan:
    return resolve(Policy.model_validate(policy_of(**over)))


def site_of(text: str = SITE) -> SiteDocument:
    return parse_site(Source("site.yaml", text.encode()))


def hops_of(document: Mapping[str, Any], path: str) -> dict[str, Mapping[str, Any]]:
    """The hops of one path of a JSON report, by name."""
    (found,) = [each for each in document["paths"] if each["path"] == path]
    return {hop["hop"]: hop for hop in found["hops"]}
