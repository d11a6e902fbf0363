"""Who may hold which permission, read off a plan: for laws, documents and tables of what to test.

"May" is about the rules alone: conditions, expiries, activations and a caller's attributes are taken as met,
for some day they could be; rules in shadow give and take nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
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


def permissions(plan: Plan) -> tuple[str, ...]:
    """Every permission that there is to ask for, by model's name and in the order of the actions."""
    return tuple(f"{model}.{action}" for model in sorted(plan.models) for action in ACTIONS)


def holdings(plan: Plan) -> Iterator[Holding]:
    """Everything that some grant gives and no deny always takes back. Grants in the policy's order."""
    for grant in plan.grants:
        yield from holdings_of(plan, grant)


def holdings_of(plan: Plan, grant: Grant) -> Iterator[Holding]:
    """What `grant` gives, by model, action and role."""
    if grant.shadow:
        return
    barring = [deny for deny in plan.denies if unconditional(deny)]
    for model in sorted(grant.models.names):
        for action in ACTIONS:
            for role in grant.roles if action in grant.actions else ():
                if not any(covers(deny, model, action, role) for deny in barring):
                    yield Holding(model, action, role, grant)


def always_denied(plan: Plan, model: str, action: Action, role: str) -> bool:
    """Whether a deny without subjects, conditions and expiry refuses this to every holder of `role`."""
    return any(unconditional(deny) and covers(deny, model, action, role) for deny in plan.denies)


def unconditional(deny: Deny) -> bool:
    """Whether `deny` holds for everybody whom it names, at any time."""
    same = deny.models is not None and deny.models.same
    return (
        not deny.shadow and deny.subjects is None and deny.when is None and deny.expires is None and not same
    )


def covers(deny: Deny, model: str, action: Action, role: str) -> bool:
    """Whether `deny` speaks of this role's use of this model."""
    named = deny.models is None or model in deny.models.names
    return (
        named
        and (deny.actions is None or action in deny.actions)
        and (deny.roles is None or role in deny.roles)
    )
