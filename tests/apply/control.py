"""An instance with operators, asked as they ask: over HTTPS, by token."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from meshward.kit.wellknown import CONTROL
from meshward.policy.parse import to_json
from tests.hostile.conftest import hostile_policy
from tests.stack import policies
from tests.stack.live import policy_of
from tests.stack.running import Reply, Stack, eventually


def write_operated(jwks: Path, port: int, directory: Path) -> dict[str, Path]:
    """As the hostile tests' policy; group operators may apply, group shifters change traffic."""
    sockets = {"m1/v1": directory / "1.sock", "m2/v1": directory / "2.sock"}
    policy = hostile_policy(jwks, port, sockets)
    policy["edge"]["hostname"] = "localhost"
    policy["roles"] |= {
        "operator": [{"issuer": "test", "group": "operators"}],
        "shifter": [{"issuer": "test", "group": "shifters"}],
    }
    policy["operators"] = {"apply": ["operator"], "traffic": ["shifter"]}
    policies.write(directory, policy)
    return sockets


def ask(stack: Stack, token: str | None, request: Any, **headers: str) -> Reply:
    """What the instance answers; asked again where it was too often."""

    def asked() -> Reply | None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        reply = stack.call("POST", CONTROL, token, request, named)
        return None if reply.status == 429 else reply

    return eventually(asked, what="an answer other than 429")


def applying(policy: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"do": "apply", "policy": to_json(policy_of(policy)), **more}


def state_of(stack: Stack) -> Any:
    """All that a change could change."""
    files = [*sorted((stack.state / "revisions").iterdir()), stack.state / "revocations.json"]
    kept = {file.name: file.read_bytes() for file in files if file.exists()}
    return kept, json.loads((stack.run / "given" / "decide" / "live.json").read_text())
