"""A state in which a policy was accepted, without an instance that ran it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from meshward.apply.counters import Counters, load_counters
from meshward.apply.revisions import STAGED, Revision, Revisions
from meshward.policy.schema import Policy


def accept(state: Path, policy: Policy | dict[str, Any]) -> Revision:
    """The next revision of `state`, as `up` and `apply` leave it."""
    if not isinstance(policy, Policy):
        policy = Policy.model_validate(policy)
    revisions = Revisions(state)
    number = revisions.next_number(0)
    revision = Revision(number, STAGED, policy.digest, number - 1, "ann", 1.5, "because")
    revisions.stage(policy, revision)
    slots = load_counters(state).slots
    Counters(number, policy.digest, slots=slots).after_acceptance().save(state)
    return revisions.accept(revision)
