"""The policy that runs, or ran last, for what tells about an instance from beside it."""

from __future__ import annotations

from meshward.apply.revisions import Revisions
from meshward.kit import codes
from meshward.kit.errors import MeshwardError
from meshward.plan.ir import Plan
from meshward.plan.placement import PlacedPlan, place
from meshward.policy.schema import Policy
from meshward.runtime.place.directories import State


def load_running_policy(state: State) -> Policy | None:
    """None where none was accepted yet. Raises MeshwardError for one that is not what was accepted."""
    revisions = Revisions(state.path)
    current = revisions.require_current()
    return None if current is None else revisions.policy(current.number)


def load_running_place(state: State) -> PlacedPlan | None:
    """Where its site says that everything is; None: it runs on one machine. As `require_running_policy`."""
    revisions = Revisions(state.path)
    current = revisions.require_current()
    if current is None:
        raise no_revision_error()
    site = revisions.site(current.number)
    return None if site is None else place(revisions.plan(current.number), site)


def load_running_plan(state: State) -> Plan | None:
    """Its plan, as the site that it runs at names things. As `load_running_policy`."""
    revisions = Revisions(state.path)
    current = revisions.require_current()
    return None if current is None else revisions.plan(current.number)


def require_running_plan(state: State) -> Plan:
    """Raises MeshwardError also where none was accepted yet."""
    plan = load_running_plan(state)
    if plan is None:
        raise no_revision_error()
    return plan


def require_running_policy(state: State) -> Policy:
    """Raises MeshwardError also where none was accepted yet."""
    policy = load_running_policy(state)
    if policy is None:
        raise no_revision_error()
    return policy


def no_revision_error() -> MeshwardError:
    return MeshwardError(codes.NO_REVISION_YET, "no revision was accepted here yet")
