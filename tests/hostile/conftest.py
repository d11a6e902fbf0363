"""One instance for all hostile tests: its servers' `infer` route is /v1/public, their `manage` route /v1/secret."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.stack import policies
from tests.stack.inside import Inside
from tests.stack.running import Stack, running

METHODS = ("GET", "POST")
KIND = {
    "infer": [f"{method} /v1/public" for method in METHODS],
    "manage": [f"{method} /v1/secret" for method in METHODS],
}


def hostile_policy(jwks: Path, port: int, sockets: dict[str, Path]) -> dict[str, Any]:
    """Two models; alice (group users) may use the public route of both, and the secret one of none."""
    models = {
        key.split("/")[0]: {"versions": {"v1": {"server": "twofaced", "url": f"unix:{path}"}}}
        for key, path in sockets.items()
    }
    return policies.base(jwks, port) | {
        "servers": {"twofaced": KIND},
        "models": models,
        "roles": {
            "user": [{"issuer": "test", "group": "users"}],
            "boss": [{"issuer": "test", "group": "bosses"}],
            "batch": [{"workload": "scorer"}],
        },
        "workloads": {"scorer": {"id": "/ns/jobs/sa/scorer"}, "idle": {"id": "/ns/jobs/sa/idle"}},
        "grants": [
            {"id": "use", "roles": ["user"], "models": "all", "actions": ["infer"]},
            {"id": "nightly", "roles": ["batch"], "models": ["m1"], "actions": ["infer"]},
            {"id": "rule", "roles": ["boss"], "models": "all", "actions": ["infer", "manage"]},
        ],
    }


def write_hostile(jwks: Path, port: int, directory: Path) -> dict[str, Path]:
    sockets = {"m1/v1": directory / "1.sock", "m2/v1": directory / "2.sock"}
    policies.write(directory, hostile_policy(jwks, port, sockets))
    return sockets


@pytest.fixture(scope="module")
def stack(short_dir: Path) -> Iterator[Stack]:
    with running(short_dir, write_hostile) as started:
        yield started


@pytest.fixture
def inside(stack: Stack) -> Inside:
    return Inside(stack)


@pytest.fixture
def alice(stack: Stack) -> str:
    """A good token that opens /v1/public and not /v1/secret; nothing is left from earlier tests."""
    stack.taken()
    return stack.issuer.token("alice", ["users"])
