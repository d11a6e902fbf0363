"""A model of two versions, and what its callers and its servers see."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from tests.hostile.conftest import hostile_policy
from tests.stack import policies
from tests.stack.asking import ask
from tests.stack.running import Stack

PATH = "/m/m1/v1/public"


def write_two(jwks: Path, port: int, directory: Path) -> dict[str, Path]:
    """m1/v1 has all the traffic, m1/v2 none; m2 has one version."""
    sockets = {key: directory / f"{key.replace('/', '')}.sock" for key in ("m1/v1", "m1/v2", "m2/v1")}
    policy = hostile_policy(jwks, port, {key: sockets[key] for key in ("m1/v1", "m2/v1")})
    policy["models"]["m1"]["versions"]["v2"] = {"server": "twofaced", "url": f"unix:{sockets['m1/v2']}"}
    policy["models"]["m1"]["traffic"] = {"v1": 100, "v2": 0}
    policies.write(directory, policy)
    return sockets


def shown(stack: Stack, model: str = "m1") -> dict[str, Any]:
    """What `traffic MODEL` says."""
    return ask(stack.state, {"do": "traffic", "model": model}, lambda _: None)


def spread(stack: Stack, token: str, requests: int) -> Counter[str]:
    """Which versions of m1 met `requests` good requests."""
    stack.taken()
    assert {stack.call("GET", PATH, token).status for _ in range(requests)} == {200}
    taken = {version: stack.models[f"m1/{version}"].taken() for version in ("v1", "v2")}
    return Counter({v: sum(each.target == "/v1/public" for each in met) for v, met in taken.items()})
