"""Changing the rules of a running instance, as an operator does."""

from __future__ import annotations

import json
from typing import Any

from meshward.apply.edge_page import EdgePage
from meshward.plan.ir import Plan
from meshward.plan.resolve import resolve
from meshward.policy.parse import Source, parse, to_json
from meshward.policy.schema import Policy
from tests.stack.asking import ask
from tests.stack.running import Stack


def change_rules(stack: Stack, text: dict[str, Any]) -> Plan:
    """Apply the policy `text`, whatever it widens."""
    policy = policy_of(text)
    apply(stack, policy, allow=["widening"])
    return resolve(policy)


def policy_of(text: dict[str, Any]) -> Policy:
    return parse([Source("changed.yaml", json.dumps(text).encode())]).policy


def apply(stack: Stack, policy: Policy, **more: Any) -> dict[str, Any]:
    """What the instance says. Raises MeshwardError as it does."""
    return ask(stack.state, {"do": "apply", "policy": to_json(policy), **more}, lambda _: None)


def raise_epoch(stack: Stack) -> None:
    """End every remembered decision."""
    EdgePage.in_directory(stack.run / "given" / "edge").raise_epoch()
