"""A plan's rules, arranged so that one decision reads only the few that can matter to it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from meshward.decide.roles import RoleIndex
from meshward.plan.ir import Deny, Grant, Plan
from meshward.policy.schema import Action

Subject = tuple[str | None, str | None]
"""An issuer's name and its subject; one that is not known is named by no deny."""
_Place = tuple[int, Grant]


class DecisionIndex:
    """A permission's rules are gathered when it is first asked for. Rules in shadow are left out."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.roles = RoleIndex(plan.roles)
        self._grants: dict[tuple[str, Action], dict[str, list[_Place]]] = {}
        self._denies: dict[tuple[str, Action], list[Deny]] = {}
        self._denies_of: dict[Subject, list[Deny]] = defaultdict(list)
        self._of_anybody = [deny for deny in plan.denies if deny.subjects is None]
        for deny in plan.denies:
            for subject in deny.subjects or ():
                self._denies_of[subject].append(deny)

    def grants(self, model: str, action: Action) -> dict[str, list[_Place]]:
        """By role: the grants that give `action` on `model` to it, each with its place in the policy."""
        key = (model, action)
        if key not in self._grants:
            self._grants[key] = self._grants_by_role(model, action)
        return self._grants[key]

    def candidates(self, model: str, action: Action, roles: frozenset[str]) -> list[Grant]:
        """The grants of `roles` for one permission, in the policy's order."""
        by_role = self.grants(model, action)
        places = {place: grant for role in roles for place, grant in by_role.get(role, ())}
        return [places[place] for place in sorted(places)]

    def denies(self, model: str, action: Action, subjects: list[Subject]) -> Iterator[Deny]:
        """The denies that speak of this permission, and of one of these subjects or of anybody."""
        for subject in subjects:
            yield from (deny for deny in self._denies_of.get(subject, ()) if deny.concerns(model, action))
        key = (model, action)
        if key not in self._denies:
            self._denies[key] = [deny for deny in self._of_anybody if deny.concerns(model, action)]
        yield from self._denies[key]

    def _grants_by_role(self, model: str, action: Action) -> dict[str, list[_Place]]:
        by_role: dict[str, list[_Place]] = defaultdict(list)
        for place, grant in enumerate(self.plan.grants):
            if grant.gives(model, action):
                for role in grant.roles:
                    by_role[role].append((place, grant))
        return dict(by_role)
