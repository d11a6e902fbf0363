"""What a start refuses, refused to whoever calls `up`: the command, or a program of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from meshward.apply.revisions import REFUSED, Revisions
from meshward.instance.up import Starting, up
from meshward.kit.errors import MeshwardError
from meshward.policy.schema import Policy

AUDITED = {
    "version": 1,
    "trust_domain": "one.test",
    "edge": {"listen": "127.0.0.1:9443", "hostname": "one.test"},
    "models": {"m": {"versions": {"v1": {"server": "tei", "url": "unix:/run/x.sock"}}}},
    "issuers": {"x": {"profile": "oidc", "issuer": "https://x.test", "audience": "a", "groups": "/g"}},
    "roles": {"r": [{"issuer": "x", "group": "g"}]},
    "operators": {"audit": ["r"]},
}


def test_a_policy_that_nothing_enforces_is_noted_as_refused(tmp_path: Path) -> None:
    with pytest.raises(MeshwardError) as told:
        up(
            Starting(Policy.model_validate(AUDITED), "a program", root_parts=True),
            tmp_path / "s",
            print,
            print,
        )
    (revision,) = Revisions(tmp_path / "s").all()
    assert (revision.status, revision.why) == (REFUSED, told.value.message)
    assert "operators" in told.value.message and not (tmp_path / "s" / "instance.json").exists()
