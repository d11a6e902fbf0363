"""STATE/policy.json: the policy that runs, or ran last, for what tells about an instance from beside it."""

from __future__ import annotations

from meshward.kit.statefile import damage_error
from meshward.policy.parse import from_json
from meshward.policy.schema import Policy
from meshward.runtime.place.directories import State


def load_running_policy(state: State) -> Policy:
    """Raises OSError where there is none, and MeshwardError for one that is damaged."""
    path = state.path / "policy.json"
    data = path.read_bytes()
    try:
        return from_json(data)
    except ValueError:
        raise damage_error(path, "it is no policy", "Apply the policy again: it is written anew.") from None
