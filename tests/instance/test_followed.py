"""What `up --watch` starts with: no change that takes a person, though it was made while the instance was down."""

from __future__ import annotations

from pathlib import Path

from meshward.apply.revisions import STAGED, Revision, Revisions
from meshward.instance.prepare import followed_policy
from meshward.plan.resolve import resolve
from meshward.policy.schema import Policy


def followed(state: Path, accepted: Policy, given: Policy) -> tuple[Policy | None, list[str]]:
    """What is started with where `accepted` ran last and `given` is followed, and what is said."""
    revisions, said = Revisions(state), list[str]()
    if revisions.current() is None:
        revision = Revision(1, STAGED, resolve(accepted).digest, 0, "root", 0.0, "up")
        revisions.stage(accepted, revision)
        revisions.accept(revision)
    return followed_policy(revisions, given, said.append), said


def test_a_first_start_takes_what_it_is_given(tmp_path: Path) -> None:
    policy = Policy.model_validate(
        {
            "version": 1,
            "trust_domain": "one.test",
            "models": {"m": {"versions": {"v1": {"server": "tei", "url": "unix:/run/m.sock"}}}},
        }
    )
    said: list[str] = []
    assert followed_policy(Revisions(tmp_path), policy, said.append) is policy and said == []
