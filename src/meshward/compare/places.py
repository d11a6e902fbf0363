"""Where an action on a model leads: to which routes of which servers, and what a server calls the model there.

A permission means no more than that: two models that swap their servers swap what their users may do.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from meshward.plan.ir import Model, Plan, Version
from meshward.policy.schema import Action
from meshward.policy.urls import shared_key
from meshward.policy.values import Route

Permission = tuple[str, Action]


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """One route of one server; `name`: the model that a body names there. None: whatever it likes, or it names none."""

    server: str
    route: Route
    name: str | None


UNNAMED = ""
"""A body may leave out the name, and the server then answers as whichever model it likes."""


class Places:
    """What each permission of a plan leads to, and the other way round."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._leads: dict[Permission, set[Place]] = defaultdict(set)
        self._held: dict[Place, set[Permission]] = defaultdict(set)
        self._named: dict[tuple[str, Route], set[str]] = defaultdict(set)
        for model in plan.models.values():
            for action, place in _places(model):
                self._leads[model.name, action].add(place)
                self._held[place].add((model.name, action))
                if place.name is not None:
                    self._named[place.server, place.route].add(place.name)

    @property
    def permissions(self) -> list[Permission]:
        """All that lead somewhere."""
        return sorted(self._leads)

    def of(self, permission: Permission) -> frozenset[Place]:
        return frozenset(self._leads.get(permission, ()))

    def by(self, place: Place) -> frozenset[Permission]:
        """The permissions that lead there: also where a body may name what it likes."""
        anything = self._held.get(replace(place, name=None), set())
        return frozenset(self._held.get(place, set()) | anything)

    def at(self, place: Place) -> frozenset[Permission]:
        """The permissions that lead to that route of that server, whatever bodies name there."""
        names = [*self._named.get((place.server, place.route), ()), None]
        return frozenset[Permission]().union(
            *(self._held.get(replace(place, name=name), ()) for name in names)
        )

    def named(self, place: Place) -> list[Place]:
        """`place`, or where a body may name anything, whatever one could name there."""
        names = self._named.get((place.server, place.route), set()) if place.name is None else set()
        return [replace(place, name=name) for name in sorted(names)] or [place]

    def meant(self, model: str, route: Route) -> Action | None:
        """What a request to this route of that model means."""
        known = self._plan.models.get(model)
        return known.action_of(route.method, route.path) if known is not None else None


def moved(old: Places, new: Places, permission: Permission) -> Mapping[frozenset[Permission], list[Place]]:
    """Where `permission` leads and did not, by the permissions that led there before.

    A server that nobody could reach is taken for what its model was: except by `manage`, for nobody knows what can be
    changed there.
    """
    model, action = permission
    found: dict[frozenset[Permission], list[Place]] = defaultdict(list)
    led = new.of(permission) - old.of(permission)
    for place in sorted((each for one in led for each in old.named(one)), key=_order):
        before = old.by(place) or old.at(place)
        meant = old.meant(model, place.route)
        if not before and (meant or action) != "manage":
            before = frozenset([(model, meant or action)])
        elif not before and action != "manage":
            before = frozenset([(model, "manage")])
        if permission not in before:
            found[before].append(place)
    return found


def managed_still(
    old: Places, new: Places, permission: Permission
) -> Mapping[frozenset[Permission], list[Place]]:
    """Where `permission`, which is less than `manage`, led already and something else manages, as `moved` has it."""
    found: dict[frozenset[Permission], list[Place]] = defaultdict(list)
    led = new.of(permission) & old.of(permission) if permission[1] != "manage" else ()
    for place in sorted(led, key=_order):
        before = old.by(place)
        if manages(before):
            found[before].append(place)
    return found


def manages(permissions: Iterable[Permission]) -> bool:
    return any(action == "manage" for _, action in permissions)


def _order(place: Place) -> tuple[str, Route, str]:
    return place.server, place.route, place.name or ""


def _places(model: Model) -> Iterator[tuple[Action, Place]]:
    for version in model.versions:
        for route, action in version.routes.items():
            for name in _names(model, version, route):
                for url in version.urls:
                    yield action, Place(shared_key(url), route, name)


def _names(model: Model, version: Version, route: Route) -> tuple[str | None, ...]:
    if not version.is_named_on(route) or version.ignores_names:
        return (None,)
    if version.upstream_model is not None:
        return (version.upstream_model,)
    return (UNNAMED, model.name, *model.aliases)
