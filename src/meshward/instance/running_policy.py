"""The policy that runs, or ran last, for what tells about an instance from beside it."""

from __future__ import annotations

from meshward.apply.revisions import Revisions
from meshward.policy.schema import Policy
from meshward.runtime.place.directories import State


def load_running_policy(state: State) -> Policy | None:
    """None where none was accepted yet. Raises MeshwardError for one that is not what was accepted."""
    revisions = Revisions(state.path)
    current = revisions.require_current()
    return None if current is None else revisions.policy(current.number)
