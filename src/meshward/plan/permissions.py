"""Who may hold which permission, read off a plan: for laws, documents and tables of what to test.

"May" is about the rules alone: conditions, expiries, activations and a caller's attributes are taken as met,
for some day they could be; rules in shadow give and take nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from meshward.plan.ir import Deny, Grant, Plan
from meshward.policy.schema import ACTIONS, Action


@dataclass(frozen=True, slots=True)
class Holding:
    """`role` may hold `<model>.<action>` by `grant`."""

    model: str
    action: Action
    role: str
    grant: Grant

    @property
    def permission(self) -> str:
        return f"{self.model}.{self.action}"


def holdings_of(plan: Plan, grant: Grant) -> Iterator[Holding]:
    """What `grant` gives and no deny always takes back, by action, role and model."""
    for action in ACTIONS if not grant.shadow else ():
        for role in grant.roles if action in grant.actions else ():
            for model in sorted(grant.models.names - barred_models(plan, role, action)):
                yield Holding(model, action, role, grant)


def barred_models(plan: Plan, role: str, action: Action) -> frozenset[str]:
    """The models that denies without subjects, conditions and expiry refuse to every holder of `role`."""
    barring = [deny for deny in plan.denies if _always_bars(deny, role)]
    models = plan.models if barring else ()
    return frozenset(model for model in models if any(deny.concerns(model, action) for deny in barring))


def _always_bars(deny: Deny, role: str) -> bool:
    """Whether `deny` holds for everybody who has `role`, at any time."""
    same = deny.models is not None and deny.models.same
    named = deny.roles is None or role in deny.roles
    return named and not same and (deny.subjects, deny.when, deny.expires) == (None, None, None)


def open_permissions(plan: Plan) -> Mapping[Action, frozenset[str]]:
    """The models of each action whose permission somebody may hold, by whatever role and grant."""
    barred: dict[tuple[str, Action], frozenset[str]] = {}
    found: dict[Action, set[str]] = {action: set() for action in ACTIONS}
    for grant in plan.grants:
        for action in grant.actions if not grant.shadow else ():
            wanted = not grant.models.names <= found[action]
            for role in (role for role in grant.roles if wanted and plan.roles[role]):
                if (role, action) not in barred:
                    barred[role, action] = barred_models(plan, role, action)
                found[action] |= grant.models.names - barred[role, action]
    return {action: frozenset(models) for action, models in found.items()}
