"""Policies that the tests run: written as data, so that no test depends on another's text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from meshward.testing.issuer import AUDIENCE, URL

TRUST_DOMAIN = "models.test"


def base(jwks: Path, port: int) -> dict[str, Any]:
    """An issuer of the tests' own, at an edge on `port`; no models yet."""
    return {
        "version": 1,
        "trust_domain": TRUST_DOMAIN,
        "edge": {"listen": f"127.0.0.1:{port}", "hostname": "models.test"},
        "issuers": {
            "test": {
                "profile": "oidc",
                "issuer": URL,
                "audience": AUDIENCE,
                "groups": "/groups",
                "jwks": {"file": str(jwks)},
            }
        },
    }


def write(directory: Path, policy: dict[str, Any]) -> None:
    (directory / "policy.yaml").write_text(json.dumps(policy, indent=1))
