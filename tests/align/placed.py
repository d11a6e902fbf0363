"""Policies placed on sites, for comparisons with what runs."""

from __future__ import annotations

from meshward.plan.placement import PlacedPlan, place
from meshward.plan.resolve import resolve
from meshward.policy.parse import parse
from meshward.policy.site import parse_site
from meshward.policy.tree import Source

DRIFT_POLICY = """
version: 1
trust_domain: meshward.test
edge: {listen: 127.0.0.1:8443, hostname: edge.meshward.test, certificate: {from: generated}}
issuers: {okta: {profile: okta, issuer: https://example.okta.com/oauth2/default, audience: api://models}}
roles: {staff: [{issuer: okta, group: staff}]}
servers:
  embedder: {infer: [POST /embed], describe: [GET /info], manage: [POST /admin/load], health: GET /health}
  chatter: {infer: [POST /v1/chat/completions], health: GET /health}
models:
  minilm: {task: feature-extraction, versions: {v1: {server: embedder, url: "http://127.0.0.1:18011"}}}
  assistant: {task: text-generation, versions: {v1: {server: chatter, url: "http://127.0.0.1:18012"}}}
grants:
  - {id: all, roles: [staff], models: all, actions: [infer, describe, manage]}
"""
DRIFT_SITE = """
version: 1
edge: {workload: {namespace: edge, service_account: nginx}}
models:
  minilm: {v1: {namespace: models, service: minilm, port: 8443, target_port: 15443, select: {app: minilm}}}
  assistant: {v1: {namespace: models, service: assistant, port: 8443, target_port: 15443, select: {app: assistant}}}
"""


def placed(policy: str, site: str | None) -> PlacedPlan:
    plan = resolve(parse([Source("policy.yaml", policy.encode())]).policy)
    return place(plan, parse_site(Source("site.yaml", site.encode())).site if site else None)
