"""A plan's rules, arranged so that one decision reads only the few that can matter to it."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Iterator

from meshward.decide.roles import RoleBook
from meshward.plan.ir import Deny, Grant, Plan
from meshward.policy.schema import Action

Subject = tuple[str | None, str | None]
"""An issuer's name and its subject; one that is not known is named by no deny."""
_Place = tuple[int, Grant]
_KEPT = 8


class DecisionIndex:
    """A permission's rules are gathered when it is first asked for. Rules in shadow are left out."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.roles = RoleBook(plan.roles)
        self._grants: dict[tuple[str, Action], dict[str, list[_Place]]] = {}
        self._denies: dict[tuple[str, Action], list[Deny]] = {}
        self._denies_of: dict[Subject, list[Deny]] = defaultdict(list)
        enforced = [deny for deny in plan.denies if not deny.shadow]
        self._of_anybody = [deny for deny in enforced if deny.subjects is None]
        for deny in enforced:
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
            yield from (deny for deny in self._denies_of.get(subject, ()) if _speaks_of(deny, model, action))
        key = (model, action)
        if key not in self._denies:
            self._denies[key] = [deny for deny in self._of_anybody if _speaks_of(deny, model, action)]
        yield from self._denies[key]

    def _grants_by_role(self, model: str, action: Action) -> dict[str, list[_Place]]:
        by_role: dict[str, list[_Place]] = defaultdict(list)
        for place, grant in enumerate(self.plan.grants):
            if not grant.shadow and action in grant.actions and model in grant.models.names:
                for role in grant.roles:
                    by_role[role].append((place, grant))
        return dict(by_role)


def _speaks_of(deny: Deny, model: str, action: Action) -> bool:
    names_model = deny.models is None or model in deny.models.names
    return names_model and (deny.actions is None or action in deny.actions)


_indexes: OrderedDict[int, DecisionIndex] = OrderedDict()


def index_of(plan: Plan) -> DecisionIndex:
    """The index of `plan`, kept for the last few plans. A plan is known by identity: it is never changed."""
    index = _indexes.get(id(plan))
    if index is not None and index.plan is plan:
        return index
    index = _indexes[id(plan)] = DecisionIndex(plan)
    while len(_indexes) > _KEPT:
        _indexes.popitem(last=False)
    return index
