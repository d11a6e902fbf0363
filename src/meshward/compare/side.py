"""One of two plans that are compared: its rules for a permission, each resolved to what it asks, and equal by that."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

from meshward.compare.boxes import Box, product
from meshward.compare.callers import (
    Facts,
    agent_meaning,
    issuer_meaning,
    line_meaning,
    seen_by,
)
from meshward.compare.conditions import (
    DIRECT,
    AgentKey,
    Names,
    acting,
    asked_for,
    box_of,
    called_by,
    deny_chains,
    in_chain,
    lasting,
)
from meshward.compare.spans import FAR, Spans, spans
from meshward.decide.roles import RoleIndex
from meshward.decide.types import Identity
from meshward.plan.ir import Agent, Condition, Deny, Grant, Model, Plan, Selector
from meshward.policy.schema import ACTIONS, Action

Labels = tuple[tuple[str, str | None], ...]
"""Attributes that must equal the model's labels, with those; None: it has none, so nobody's does."""


@dataclass(frozen=True, slots=True)
class Given:
    """What a grant gives to one of its roles on one model: whom it asks for beside the role, and when it holds."""

    same: Labels
    when: Condition | None
    callers: frozenset[str] | None
    expires: int | None
    on_request: Hashable
    agents: tuple[tuple[AgentKey, int, Labels], ...]

    def boxes(self, identity: Identity, names: Names) -> list[Box]:
        """When it holds for `identity`, who has the role."""
        if not _equals(self.same, identity):
            return []
        may = {key: depth for key, depth, same in self.agents if _equals(same, identity)}
        actor = self.when.actor if self.when is not None else None
        via = DIRECT if self.callers is None else called_by(self.callers, names)
        only_if = [box_of(self.when, known=True), via, lasting(self.expires), asked_for(self.on_request)]
        return product(*([box] for box in only_if), acting(may, actor, names))


@dataclass(frozen=True, slots=True)
class Taken:
    """What a deny takes on one model. `lines` are what its roles are made of; None: it asks for no role."""

    name: str
    subjects: frozenset[tuple[tuple[str, ...], str]] | None
    agents: frozenset[AgentKey]
    roles: tuple[str, ...] | None
    lines: frozenset[Hashable] | None
    same: Labels
    same_sources: Hashable
    when: Condition | None
    expires: int | None

    def covers(self, other: Taken) -> bool:
        """Whether this takes at least what `other`, of another plan, takes. False where that is hard to tell."""
        people = self.subjects is None or (
            other.subjects is not None and other.subjects <= self.subjects and other.agents <= self.agents
        )
        members = self.lines is None or (other.lines is not None and other.lines <= self.lines)
        same = not self.same or (self.same, self.same_sources) == (other.same, other.same_sources)
        when = self.when is None or self.when == other.when
        lasts = self.expires is None or (other.expires is not None and other.expires <= self.expires)
        return people and members and same and when and lasts


@dataclass(frozen=True, slots=True)
class Rules:
    """All that decides about one action on one model."""

    model: Model
    action: Action
    grants: Mapping[str, tuple[int, ...]]  # by role: their places in the plan
    gifts: frozenset[Hashable]
    taken: tuple[Taken, ...]
    same: frozenset[str]  # the attributes that are looked at


class Side:
    """A plan, arranged to be asked about many permissions."""

    def __init__(self, plan: Plan, names: Names) -> None:
        self.plan, self.names = plan, names
        self._index = RoleIndex(plan.roles)
        self._lines = {role: frozenset(self._meanings(role)) for role in plan.roles}
        self._agents = [(agent_meaning(plan, agent), agent) for agent in plan.agents.values()]
        self._callers = _callers(plan)
        self._placed: dict[tuple[str, Action], tuple[tuple[int, ...], tuple[int, ...]]] = {}
        self._rules: dict[Hashable, Rules] = {}
        self._given: dict[tuple[int, str], tuple[Given, ...]] = {}
        self._held: dict[Facts, tuple[Identity, dict[str, Spans]]] = {}

    def lines(self, role: str) -> frozenset[Hashable]:
        """What the lines of `role` mean; two roles with equal ones have the same members."""
        return self._lines.get(role, frozenset())

    @cached_property
    def attributes(self) -> frozenset[str]:
        """All that a `same` of any rule names."""
        plan = self.plan
        selectors = [grant.models for grant in plan.grants] + [agent.models for agent in plan.agents.values()]
        selectors += [deny.models for deny in plan.denies if deny.models is not None]
        return frozenset(name for selector in selectors for name in selector.same)

    def rules(self, model: str, action: Action) -> Rules | None:
        """The rules for `action` on `model`; None where no version of it has a route of that action."""
        named = self.plan.models.get(model)
        if named is None or action not in actions_of(named):
            return None
        key = (
            self.shape(model, action),
            *((name, named.labels.get(name)) for name in sorted(self.attributes)),
        )
        if key not in self._rules:
            self._rules[key] = self._resolve(named, action, *self._numbers(model, action))
        return self._rules[key]

    def shape(self, model: str, action: Action) -> Hashable:
        """All on which the rules for `action` on `model` depend, but the model's labels. None: there are none."""
        named = self.plan.models.get(model)
        if named is None or action not in actions_of(named):
            return None
        agents = tuple(model in agent.models.names for _, agent in self._agents)
        return action, *self._numbers(model, action), agents, self._callers.get(model)

    def given(self, rules: Rules, role: str) -> tuple[Given, ...]:
        """What `rules` give to `role`, grant by grant."""
        key = (id(rules), role)
        if key not in self._given:
            grants = (self.plan.grants[place] for place in rules.grants.get(role, ()))
            self._given[key] = tuple(self._gift(grant, role, rules) for grant in grants)
        return self._given[key]

    def gifts(self, rules: Rules, role: str) -> Iterator[Hashable]:
        """What members of `role` are given. Equal in two plans: the same, to the same people."""
        acting = self._line_numbers[role], self._acting_for(role, rules.model, rules.action)
        for place in rules.grants.get(role, ()):
            yield self._gift_meaning(place, acting, rules.model)

    def meaning(self, model: str, action: Action) -> Hashable:
        """Equal in two plans: their rules for this permission mean the same."""
        named = self.plan.models.get(model)
        if named is None or action not in actions_of(named):
            return None
        grants, denies = self._numbers(model, action)
        meant = self._meant
        return (
            frozenset(map(meant[0].__getitem__, grants)),
            frozenset(map(meant[1].__getitem__, denies)),
            tuple((name, named.labels.get(name)) for name in sorted(self.attributes)),
            tuple(model in agent.models.names for _, agent in self._agents),
            self._callers.get(model),
        )

    @cached_property
    def _meant(self) -> tuple[list[int], list[int]]:
        """What each grant and each deny means, as a number; of the model only its labels are left open."""
        plan, number = self.plan, self.names.number
        acting = self._acting
        grants = [
            number(
                (self._lines_of(each.roles), each.models.same, self._sources(each.models), each.when, each.expires,
                 self._request(each), (acting, each.roles) if acting else None)
            )
            for each in plan.grants
        ]  # fmt: skip
        denies = [
            number(
                (self._subjects(each), self._lines_of(each.roles), each.models and each.models.same,
                 self._sources(each.models), each.when, each.expires, acting)
            )
            for each in plan.denies
        ]  # fmt: skip
        return grants, denies

    def _request(self, grant: Grant) -> Hashable:
        """For how long, and who must agree. Whom it is told to gives nobody anything."""
        asked = grant.on_request
        return None if asked is None else (asked.seconds, self._lines_of(asked.approve))

    def _lines_of(self, roles: tuple[str, ...] | None) -> Hashable:
        return None if roles is None else frozenset(map(self.lines, roles))

    def _subjects(self, deny: Deny) -> frozenset[tuple[tuple[str, ...], str]] | None:
        if deny.subjects is None:
            return None
        return frozenset((issuer_meaning(self.plan, name), who) for name, who in deny.subjects)

    def _sources(self, *selectors: Selector | None) -> Hashable:
        """Where the attributes are read that these look at."""
        names = sorted({name for each in selectors if each is not None for name in each.same})
        issuers = self.plan.issuers.values() if names else ()
        return tuple((each.name, name, each.attributes.get(name)) for each in issuers for name in names)

    def held(
        self, facts: Facts, writer: Plan, attributes: frozenset[str]
    ) -> tuple[Identity, dict[str, Spans]]:
        """Whom it sees in `facts` that `writer` wrote, and until when each role is held."""
        if facts not in self._held:
            identity = seen_by(self.plan, facts, writer, attributes)
            times: dict[str, list[tuple[int, int]]] = defaultdict(list)
            for membership in self._index.memberships(identity):
                until = membership.line.until
                times[membership.role].append((-FAR, FAR if until is None else until))
            self._held[facts] = identity, {role: spans(parts) for role, parts in times.items()}
        return self._held[facts]

    def denied(self, taken: Taken, identity: Identity, held: Mapping[str, Spans]) -> Iterator[Box]:
        """When `taken` stops `identity`, who holds the roles `held`."""
        ends = spans((-FAR, held[role].parts[-1][1]) for role in taken.roles or () if role in held)
        if taken.roles is not None and not ends:
            return
        if any(label is None or identity.attributes.get(name, label) != label for name, label in taken.same):
            return
        when = taken.when
        boxes = [box_of(when, known=False), lasting(taken.expires)]
        boxes += [{("time", ""): ends}] if taken.roles is not None else []
        boxes += [called_by(when.via, self.names)] if when is not None and when.via is not None else []
        chains = deny_chains(when.actor if when is not None else None, self.names)
        yield from product(*([box] for box in boxes), chains, self._whom(taken, identity))

    def _whom(self, taken: Taken, identity: Identity) -> list[Box]:
        asking = (issuer_meaning(self.plan, identity.issuer or ""), identity.subject or "")
        if taken.subjects is None or asking in taken.subjects:
            return [{}]
        return in_chain(taken.agents)

    def _meanings(self, role: str) -> Iterator[Hashable]:
        return (line_meaning(self.plan, line) for line in self.plan.roles[role])

    @cached_property
    def _by_model(self) -> Mapping[str, tuple[list[int], list[int]]]:
        """The places of the grants and the denies that name a model."""
        found: dict[str, tuple[list[int], list[int]]] = {name: ([], []) for name in self.plan.models}
        for place, grant in enumerate(self.plan.grants):
            for name in grant.models.names if not grant.shadow else ():
                found[name][0].append(place)
        for place, deny in enumerate(self.plan.denies):
            named = deny.models.names if deny.models is not None else self.plan.models
            for name in named if not deny.shadow else ():
                found[name][1].append(place)
        return found

    def _numbers(self, model: str, action: Action) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The places of the grants and the denies that speak of `action` on `model`."""
        key = (model, action)
        if key not in self._placed:
            grants, denies = self._by_model[model]
            plan = self.plan
            self._placed[key] = (
                tuple([place for place in grants if action in plan.grants[place].actions]),
                tuple([place for place in denies if plan.denies[place].concerns(model, action)]),
            )
        return self._placed[key]

    def _resolve(
        self, model: Model, action: Action, grants: tuple[int, ...], denies: tuple[int, ...]
    ) -> Rules:
        places: dict[str, list[int]] = defaultdict(list)
        for place in grants:
            for role in self.plan.grants[place].roles:
                places[role].append(place)
        taken = tuple(self._taken(self.plan.denies[place], model) for place in denies)
        looked = [self.plan.grants[place].models.same for place in grants]
        looked += [agent.models.same for _, agent in self._agents]
        return Rules(
            model=model,
            action=action,
            grants={role: tuple(found) for role, found in places.items()},
            gifts=frozenset(
                self._gift_meaning(place, acting, model)
                for role, found in places.items()
                for acting in [(self._line_numbers[role], self._acting_for(role, model, action))]
                for place in found
            ),
            taken=taken,
            same=frozenset(chain.from_iterable(looked)).union(
                name for each in taken for name, _ in each.same
            ),
        )

    def _gift_meaning(self, place: int, whom: Hashable, model: Model) -> Hashable:
        """`whom`: the members of a role, and the agents that may act for them there."""
        grant = self.plan.grants[place]
        called = self._callers.get(model.name) if grant.when is not None and grant.when.via else None
        return whom, self._contents[place], _labels(grant.models.same, model), called

    def _acting_for(self, role: str, model: Model, action: Action) -> Hashable:
        return tuple(
            (key, each.max_depth, _labels(each.models.same, model), self._sources(each.models))
            for key, each in self._agents
            if role in each.acts_for and _may(each, model, action)
        )

    @cached_property
    def _line_numbers(self) -> Mapping[str, int]:
        roles = {role for grant in self.plan.grants for role in grant.roles}
        return {role: self.names.number(self.lines(role)) for role in roles}

    @cached_property
    def _contents(self) -> list[int]:
        """What each grant gives to whoever has one of its roles, as a number."""
        return [
            self.names.number(
                (
                    each.models.same,
                    self._sources(each.models),
                    each.when,
                    each.expires,
                    self._request(each),
                )
            )
            for each in self.plan.grants
        ]

    @cached_property
    def _acting(self) -> Hashable:
        return tuple(
            (
                key,
                each.acts_for,
                each.actions,
                each.models.names,
                each.models.same,
                self._sources(each.models),
                each.max_depth,
            )
            for key, each in self._agents
        )

    def _gift(self, grant: Grant, role: str, rules: Rules) -> Given:
        via = grant.when.via if grant.when is not None else None
        model, action = rules.model, rules.action
        acting = [(key, each) for key, each in self._agents if _may(each, model, action)]
        return Given(
            same=_labels(grant.models.same, model),
            when=grant.when,
            callers=None if via is None else self._callers.get(model.name, frozenset()) & frozenset(via),
            expires=grant.expires,
            on_request=self._request(grant),
            agents=tuple(
                (key, each.max_depth, _labels(each.models.same, model))
                for key, each in acting
                if role in each.acts_for
            ),
        )

    def _taken(self, deny: Deny, model: Model) -> Taken:
        same, named = deny.models.same if deny.models is not None else (), deny.subjects or ()
        lines = None if deny.roles is None else frozenset[Hashable]().union(*map(self.lines, deny.roles))
        return Taken(
            name=deny.id,
            subjects=self._subjects(deny),
            agents=frozenset(key for key, each in self._agents if (each.issuer, each.subject) in named),
            roles=deny.roles,
            lines=lines,
            same=_labels(same, model),
            same_sources=self._sources(deny.models),
            when=deny.when,
            expires=deny.expires,
        )


def actions_of(model: Model) -> list[Action]:
    """The actions that a request to `model` can mean: those of which some server of it has a route."""
    there = {action for version in model.versions for action in version.routes.values()}
    return [action for action in ACTIONS if action in there]


def _callers(plan: Plan) -> Mapping[str, frozenset[str]]:
    """By model: those that may call it on somebody's behalf."""
    found: dict[str, set[str]] = defaultdict(set)
    for model in plan.models.values():
        for called in model.calls:
            found[called].add(model.name)
    return {name: frozenset(callers) for name, callers in found.items()}


def _may(agent: Agent, model: Model, action: Action) -> bool:
    return model.name in agent.models.names and action in agent.actions


def _labels(same: tuple[str, ...], model: Model) -> Labels:
    return tuple((name, model.labels.get(name)) for name in same)


def _equals(labels: Labels, identity: Identity) -> bool:
    return all(label is not None and identity.attributes.get(name) == label for name, label in labels)
