"""Who may do what under one plan and could not under another: found by asking both about every kind of caller.

A caller is permitted by one line of a role and one grant, where no deny stops them. So whoever gains something gains it
with no more facts than one line asks for, and those by which a deny of the old plan spoke of them: only these callers
are made up, and asked about. What depends on the request (when, from where, through whom) is compared as boxes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from itertools import product as product_of
from math import prod

from meshward.compare.boxes import Box, both, is_possible, left_of, product
from meshward.compare.callers import (
    OTHER,
    UNKNOWN,
    Facts,
    agent_meaning,
    facts_of,
    is_opaque,
    line_meaning,
    with_attributes,
)
from meshward.compare.conditions import NO_PERSON, PERSON, TIME, Names, lasting
from meshward.compare.places import Permission, Place, Places, managed_still, manages, moved
from meshward.compare.side import Rules, Side, Taken, actions_of
from meshward.compare.spans import only
from meshward.compare.words import STOPPED, describe, member_text, place_text
from meshward.plan.ir import Member, Plan

MOST_CHOICES = 200  # of attributes' values, for one caller and one permission


@dataclass(frozen=True, slots=True, order=True)
class Holds:
    """`role` holds `permission` by `grants`. `who` are the members for whom that is new (or no more).

    `how`: where, or under which conditions, if it is not new everywhere. `widens`: they come to change a server.
    """

    permission: str
    role: str
    grants: tuple[str, ...]
    who: tuple[str, ...]
    how: str = ""
    widens: bool = False


@dataclass(frozen=True, slots=True)
class _Found:
    role: str
    grants: tuple[str, ...]
    who: tuple[str, ...]
    how: str


@dataclass(frozen=True, slots=True)
class _Asked:
    """What one permission is now, what it was, and what attributes may be."""

    rules: Rules
    olds: Sequence[Rules]
    choices: Mapping[str, Sequence[str]]


def gains(
    old: Plan | None, new: Plan, led: tuple[Places, Places] | None = None, stopped: str = STOPPED
) -> Iterator[Holds]:
    """What `new` gives and `old` does not, by model, action and role. None: a plan that permits nothing.

    `led`: the places of both; without, by the models' names alone. `stopped`: how it is told that a deny makes the
    difference.
    """
    asked = _Comparison(old, new, led, stopped)
    for model in sorted(new.models):
        for action in actions_of(new.models[model]):
            yield from asked.gained((model, action))


class _Comparison:
    """Two plans, and what was found out about them: many models are under the same rules."""

    def __init__(self, old: Plan | None, new: Plan, led: tuple[Places, Places] | None, stopped: str) -> None:
        plans = [new] if old is None else [old, new]
        models = sorted({name for plan in plans for name in plan.models})
        agents = dict.fromkeys(agent_meaning(plan, agent) for plan in plans for agent in plan.agents.values())
        names = Names({name: place for place, name in enumerate(models, 1)}, tuple(agents))
        self._new, self._old = Side(new, names), None if old is None else Side(old, names)
        self._led = led
        self._callers = list(names.models)
        self._stopped = stopped
        self._known: dict[Hashable, list[_Found]] = {}
        self._attributes = frozenset[str]().union(
            *(side.attributes for side in (self._new, self._old) if side)
        )
        self._opaque = [name for name in self._attributes if all(is_opaque(plan, name) for plan in plans)]

    def gained(self, permission: Permission) -> Iterator[Holds]:
        """By name, and then at each place where it led nowhere."""
        name, told = ".".join(permission), set[tuple[str, str]]()
        for found in self._by_name(permission):
            widens = permission[1] == "manage" and bool(found.who)
            yield Holds(name, found.role, found.grants, found.who, found.how, widens)
            if widens or not found.how:
                told.update((found.role, who) for who in found.who)
        if self._led is not None:
            for led in (moved(*self._led, permission), managed_still(*self._led, permission)):
                for before, places in led.items():
                    yield from self._at(permission, before, places, told)

    def _by_name(self, permission: Permission) -> list[_Found]:
        if self._old is not None and self._old.meaning(*permission) == self._new.meaning(*permission):
            return []
        return self._who(permission, [permission])

    def _at(
        self,
        permission: Permission,
        before: frozenset[Permission],
        places: list[Place],
        told: set[tuple[str, str]],
    ) -> Iterator[Holds]:
        """`told`: who gains the permission everywhere, as was said already."""
        held = sorted(before)
        widens = manages((permission, *before))
        again, where = widens and permission[1] != "manage", place_text(permission, held, places)
        for found in self._who(permission, held):
            who = tuple(each for each in found.who if again or (found.role, each) not in told)
            if who:
                how = f"{where}, {found.how}" if found.how else where
                yield Holds(".".join(permission), found.role, found.grants, who, how, widens)

    def _who(self, permission: Permission, before: Sequence[Permission]) -> list[_Found]:
        """Who has `permission` and had none of those `before`."""
        key = self._shape(permission, before)
        if key not in self._known:
            rules = self._new.rules(*permission)
            known = [self._old.rules(*each) for each in before] if self._old is not None else []
            olds = [each for each in known if each is not None]
            self._known[key] = list(self._find(rules, olds)) if rules is not None else []
        return self._known[key]

    def _shape(self, permission: Permission, before: Sequence[Permission]) -> Hashable:
        """Equal for questions with the same answer: which label a model has does not matter, but whose is the same."""
        sides = [(self._new, permission), *((self._old, each) for each in before)]
        labels = [
            side.plan.models[model].labels for side, (model, _) in sides if side and model in side.plan.models
        ]
        patterns = [(name, *_pattern(name, labels, opaque=name in self._opaque)) for name in self._attributes]
        return (*(side and side.shape(*each) for side, each in sides), frozenset(patterns))

    def _find(self, rules: Rules, olds: Sequence[Rules]) -> Iterator[_Found]:
        ended = [
            taken
            for old in olds
            for taken in old.taken
            if not any(kept.covers(taken) for kept in rules.taken)
        ]
        asked, seen = _Asked(rules, olds, _choices(rules, olds)), set[str]()
        gifts = (
            olds[0].gifts if len(olds) == 1 else frozenset[object]()
        )  # a deny of one model is none of another
        for role in sorted(rules.grants):
            same = all(each in gifts for each in self._new.gifts(rules, role))
            lines = [line for line in self._lines(role) if not same or self._spoke_of(ended, line)]
            for found in self._in_role(role, lines, asked):
                seen.update(found.who)
                yield found
        for text, facts in dict.fromkeys(each for taken in ended for each in self._spoken_of(taken, rules)):
            if text not in seen:
                yield from islice(self._with(text, facts, asked), 1)

    def _lines(self, role: str) -> tuple[Member, ...]:
        return self._new.plan.roles.get(role, ())

    def _spoke_of(self, ended: Iterable[Taken], line: Member) -> bool:
        """Whether one of these denies of the old plan may have stopped somebody of whom no more is true than `line`."""
        facts = facts_of(line)
        held = self._old.held(facts, self._new.plan, self._attributes)[1] if self._old is not None else {}
        people = [{who for _, who in taken.subjects or ()} for taken in ended]
        return any(
            (taken.roles is None or not held.keys().isdisjoint(taken.roles))
            and (taken.subjects is None or bool(taken.agents) or facts.subject in who)
            for taken, who in zip(ended, people, strict=True)
        )

    def _in_role(self, role: str, lines: Iterable[Member], asked: _Asked) -> Iterator[_Found]:
        """The members of `role` who gain it, together where they gain it in the same way."""
        found: dict[str, tuple[list[str], list[str]]] = defaultdict(lambda: ([], []))
        for line in lines:
            for how, grants in self._of_line(line, facts_of(line), role, asked).items():
                found[how][0].extend(grants)
                found[how][1].append(member_text(line))
        for how, (grants, who) in found.items():
            yield _Found(role, tuple(dict.fromkeys(grants)), tuple(dict.fromkeys(who)), how)

    def _with(self, text: str, facts: Facts, asked: _Asked) -> Iterator[_Found]:
        """What those gain of whom an old deny spoke, by some role that they may hold besides."""
        for role in sorted(asked.rules.grants):
            for line in self._lines(role):
                joined = facts_of(line).and_(facts)
                if joined is not None and joined != facts_of(line):
                    for how, grants in self._of_line(line, joined, role, asked).items():
                        yield _Found(role, tuple(grants), (f"{text} and {member_text(line)}",), how)

    def _of_line(self, line: Member, facts: Facts, role: str, asked: _Asked) -> dict[str, list[str]]:
        """The grants by which callers with `facts` gain it as members of `role` by `line`, by how."""
        grants = [self._new.plan.grants[place].id for place in asked.rules.grants[role]]
        if prod(map(len, asked.choices.values())) > MOST_CHOICES:
            return {"nobody can tell for whom": grants}
        found: dict[str, str] = {}
        for caller in with_attributes(facts, self._new.plan, asked.choices):
            for grant, how in self._of_caller(caller, line, role, asked.rules, asked.olds):
                found.setdefault(grant, how)
            if len(found) == len(set(grants)):
                break
        by_how: dict[str, list[str]] = defaultdict(list)
        for grant, how in found.items():
            by_how[how].append(grant)
        return by_how

    def _spoken_of(self, taken: Taken, rules: Rules) -> Iterator[tuple[str, Facts]]:
        """The people of whom a deny of the old plan spoke, and none of `rules` speaks in the same way."""
        plan = self._old.plan if self._old is not None else self._new.plan
        lines = {
            line: line_meaning(plan, line) for role in taken.roles or () for line in plan.roles.get(role, ())
        }
        members = [
            (member_text(line), facts_of(line))
            for line, meaning in lines.items()
            if not _is_covered(replace(taken, lines=frozenset([meaning])), rules)
        ]
        people = [
            (f"subject {who} of {issuer[0]}", Facts(issuer[0], None, who))
            for issuer, who in sorted(taken.subjects or ())
            if not _is_covered(replace(taken, subjects=frozenset([(issuer, who)]), agents=frozenset()), rules)
        ]
        if taken.roles is None or taken.subjects is None or taken.agents:
            yield from members or people
        for (text, one), (other, two) in product_of(members, people) if taken.roles is not None else ():
            if (joined := one.and_(two)) is not None:
                yield f"{text} and {other}", joined

    def _of_caller(
        self, facts: Facts, line: Member, role: str, rules: Rules, olds: Sequence[Rules]
    ) -> Iterator[tuple[str, str]]:
        writer = self._new.plan
        identity, held = self._new.held(facts, writer, self._attributes)
        always: list[Box] = [lasting(line.until)]
        always += [{PERSON: only(NO_PERSON)}] if facts.issuer is None else []
        denied = [box for taken in rules.taken for box in self._new.denied(taken, identity, held)]
        for place, given in zip(rules.grants[role], self._new.given(rules, role), strict=True):
            for box in product(*([each] for each in always), given.boxes(identity, self._new.names)):
                pieces = left_of([box], denied)
                how = self._how(box, pieces, facts, olds)
                if how is not None:
                    yield writer.grants[place].id, how

    def _how(self, box: Box, pieces: list[Box], facts: Facts, olds: Sequence[Rules]) -> str | None:
        """In which way more is permitted than was; None: in none."""
        granted, stops = False, ""
        for old in olds:
            given, denied = self._before(old, facts)
            granted = granted or bool(given)
            stopped = [(name, cut) for name, each in denied for cut in _cuts(pieces, each)]
            pieces = left_of(pieces, given)
            stops = stopped[0][0] if stopped and not pieces else ""
            pieces = [*pieces, *(cut for _, cut in stopped)]
        if not pieces:
            return None
        if stops:
            return self._stopped.format(stops)
        return describe(box, pieces[0], self._callers) if granted else ""

    def _before(self, rules: Rules, facts: Facts) -> tuple[list[Box], list[tuple[str, Box]]]:
        """When `rules` of the old plan gave something to this caller, and when which deny took it."""
        if (side := self._old) is None:
            return [], []
        identity, held = side.held(facts, self._new.plan, self._attributes)
        roles = [(times, given) for role, times in held.items() for given in side.given(rules, role)]
        given = [
            box for times, each in roles for box in product([{TIME: times}], each.boxes(identity, side.names))
        ]
        return given, [(each.name, box) for each in rules.taken for box in side.denied(each, identity, held)]


def _is_covered(taken: Taken, rules: Rules) -> bool:
    return any(each.covers(taken) for each in rules.taken)


def _cuts(pieces: Iterable[Box], deny: Box) -> Iterator[Box]:
    for piece in pieces:
        cut = both(piece, deny)
        if cut is not None and is_possible(cut):
            yield cut


def _pattern(name: str, labels: Sequence[Mapping[str, str]], *, opaque: bool) -> Iterator[str | int | None]:
    values = [each.get(name) for each in labels]
    return (values.index(value) if opaque and value is not None else value for value in values)


def _choices(rules: Rules, olds: Iterable[Rules]) -> dict[str, list[str]]:
    """What each attribute may be that any of these rules looks at. First what fits no rule at all."""
    found: dict[str, list[str]] = defaultdict(lambda: [OTHER])
    for each in (rules, *olds):
        for name in sorted(each.same):
            label = each.model.labels.get(name)
            found[name] += [label] if label is not None else []
    for name in [name for old in olds for taken in old.taken for name, _ in taken.same]:
        found[name].append(UNKNOWN)
    return {name: list(dict.fromkeys(values)) for name, values in found.items()}
