"""The record of revisions: numbers only rise, what was never accepted never runs, and damage is named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from meshward.apply.revisions import ACCEPTED, INTERRUPTED, REFUSED, STAGED, Revision, Revisions
from meshward.kit.errors import MeshwardError
from meshward.kit.exits import Exit
from meshward.policy.schema import Policy

POLICY = Policy.model_validate(
    {
        "version": 1,
        "trust_domain": "t",
        "models": {"m": {"versions": {"v1": {"server": "tei", "url": "unix:/x"}}}},
    }
)


def revision(number: int) -> Revision:
    return Revision(number, STAGED, f"d{number}", number - 1, "ann", 1.5, "because")


def test_what_is_staged_does_not_run_until_it_is_accepted(tmp_path: Path) -> None:
    revisions = Revisions(tmp_path)
    assert revisions.current() is None and revisions.all() == [] and revisions.next_number(0) == 1
    revisions.stage(POLICY, revision(1))
    assert revisions.current() is None
    accepted = revisions.accept(revision(1))
    assert revisions.current() == accepted == replace(revision(1), status=ACCEPTED)
    revisions.stage(POLICY, revision(2))
    assert revisions.current() == accepted
    assert revisions.policy(2) == POLICY
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "revisions").iterdir()} == {0o600}


def test_a_start_refuses_what_was_interrupted(tmp_path: Path) -> None:
    revisions = Revisions(tmp_path)
    for number in (1, 2):
        revisions.stage(POLICY, revision(number))
    revisions.accept(revision(1))
    revisions.recover()
    assert [(each.status, each.why) for each in revisions.all()] == [(ACCEPTED, ""), (REFUSED, INTERRUPTED)]
    assert revisions.next_number(0) == 3, "its number is not used again"


def test_a_policy_without_a_record_still_takes_its_number(tmp_path: Path) -> None:
    """Killed between the two files."""
    revisions = Revisions(tmp_path)
    revisions.stage(POLICY, revision(1))
    (tmp_path / "revisions" / "0001.json").unlink()
    assert revisions.all() == [] and revisions.next_number(0) == 2 and revisions.next_number(7) == 8


def test_damage_is_named_and_nothing_is_guessed(tmp_path: Path) -> None:
    revisions = Revisions(tmp_path)
    revisions.stage(POLICY, revision(1))
    revisions.accept(revision(1))
    record = tmp_path / "revisions" / "0001.json"
    for broken in ("", "{", "[]", '{"number": 1}', "\0" * 40):
        record.write_text(broken)
        with pytest.raises(MeshwardError, match="damaged"):
            revisions.current()
    (tmp_path / "revisions" / "0001.policy.json").write_text("{}")
    with pytest.raises(MeshwardError, match="damaged"):
        revisions.policy(1)
    with pytest.raises(MeshwardError) as told:
        revisions.policy(9)
    assert told.value.exit_code is Exit.USAGE
