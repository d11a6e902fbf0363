"""A policy that is not what was accepted is told with its name and a remedy by what reads it for people."""

from __future__ import annotations

from pathlib import Path

import pytest

from meshward.instance.key_ages import keys_of
from meshward.instance.records import proof
from meshward.instance.running_policy import load_running_policy
from meshward.kit.errors import MeshwardError
from meshward.policy.schema import Audit
from meshward.runtime.place.directories import State
from tests.stack.accepted import accept

GOOD = {
    "version": 1,
    "trust_domain": "one.test",
    "models": {"m": {"versions": {"v1": {"server": "tei", "url": "unix:/run/m.sock"}}}},
    "audit": {"max_blind": "20s"},
}
TWICE = b"""\
{"version": 1, "trust_domain": "one.test", "trust_domain": "two.test",
    "models": {"m": {"versions": {"v1": {"server": "tei", "url": "unix:/run/m.sock"}}}}}"""


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"version": 1}', b"\xff", TWICE])
def test_damage_is_told_by_name(tmp_path: Path, data: bytes) -> None:
    accept(tmp_path, GOOD)
    file = tmp_path / "revisions" / "0001.policy.json"
    file.write_bytes(data)
    with pytest.raises(MeshwardError) as told:
        load_running_policy(State(tmp_path))
    assert str(file) in told.value.message and "meshward apply" in told.value.remedy
    (finding,) = keys_of(State(tmp_path)).findings
    assert str(file) in finding and "meshward apply" in finding
    assert proof(State(tmp_path)).bound == Audit().max_blind.value, "the default"


def test_before_anything_was_accepted_there_is_none(tmp_path: Path) -> None:
    assert load_running_policy(State(tmp_path)) is None and not keys_of(State(tmp_path)).findings
