"""Who may hold what, as sets, for plans of a thousand models: what `permissions.holdings_of` says of each grant."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from meshward.plan.ir import Member, Plan
from meshward.plan.permissions import barred_models
from meshward.policy.schema import ACTIONS, Action

_NONE: frozenset[str] = frozenset()


class Entitlements:
    """The models that each role and each member may use, by action. Rules in shadow give and take nothing."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._models = _by_role(plan)
        self._roles: dict[Member, list[str]] = defaultdict(list)
        for role, lines in plan.roles.items():
            for line in lines:
                self._roles[line].append(role)

    def held(self) -> Iterator[tuple[str, Action, frozenset[str]]]:
        """Role, action, models' names: in the order of roles and actions."""
        for role in sorted(self._plan.roles):
            for action in ACTIONS:
                if models := self.models(role, action):
                    yield role, action, models

    def models(self, role: str, action: Action) -> frozenset[str]:
        return self._models.get((role, action), _NONE)

    def models_of(self, line: Member, action: Action) -> frozenset[str]:
        """What somebody whom `line` describes may use, by whichever role."""
        return _NONE.union(*(self.models(role, action) for role in self._roles.get(line, ())))

    def lines(self, role: str) -> tuple[Member, ...]:
        return self._plan.roles.get(role, ())

    def grants(self, role: str, action: Action, model: str) -> tuple[str, ...]:
        """The grants by which `role` holds it, in the policy's order."""
        return tuple(
            grant.id for grant in self._plan.grants if role in grant.roles and grant.gives(model, action)
        )


def member_text(line: Member) -> str:
    """A member as a sentence names it: `group science of corp`."""
    asked = [
        ("group", line.group), ("subject", line.subject), ("workload", line.workload),
        *((f"claim {name} =", value) for name, value in line.claims),
    ]  # fmt: skip
    text = " and ".join(f"{what} {value}" for what, value in asked if value is not None) or "nobody"
    return f"{text} of {line.issuer}" if line.issuer else text


def _by_role(plan: Plan) -> dict[tuple[str, Action], frozenset[str]]:
    given: dict[tuple[str, Action], set[frozenset[str]]] = defaultdict(set)
    for grant in plan.grants:
        for role in grant.roles if not grant.shadow else ():
            for action in grant.actions:
                given[role, action].add(grant.models.names)
    return {key: _NONE.union(*sets) - barred_models(plan, *key) for key, sets in given.items()}
