"""Who may do what to meshward itself. A grant gives nothing of it, not even `manage`."""

from __future__ import annotations

from meshward.decide.roles import RoleIndex
from meshward.decide.types import Identity
from meshward.plan.ir import Plan

APPLY = "apply"
"""The right that holds every right over what runs."""


def rights_of(plan: Plan, identity: Identity, at: int) -> frozenset[str]:
    """The operators' rights that `identity` has at `at`, by the roles that it then holds.

    A workload has none, and nobody for whom an agent acts: rights over meshward are a person's, or a pipeline's with a
    token of its own, and are not lent.
    """
    if identity.workload is not None or identity.actors:
        return frozenset()
    held = RoleIndex(plan.roles).held_roles(identity, at).roles
    return frozenset(right for right, roles in plan.operators.items() if not held.isdisjoint(roles))


def suffice(rights: frozenset[str], right: str | None) -> bool:
    """Whether `rights` let one do what asks for `right`; None asks for any that changes something."""
    return APPLY in rights or right in rights or (right is None and "traffic" in rights)
