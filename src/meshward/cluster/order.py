"""In which steps a mesh comes from what is there to what is wanted, so that no state in between opens anything. Pure.

What a mesh permits is what its ALLOW policies permit (`permissions`) and no guard refuses (`guards`). Every state
between an old and a new one permits only what the old or the new one permits:

1. GATE: who may write here is settled, and records are kept, before anything else is.
2. TIGHTEN: each guard refuses what it refused and what it will refuse.
3. CONTRACT: where a guard must switch at once (a filter; an issuer), what only the old side permits is taken away
   first. Where two of them meet at a workload, all of it is.
4. SWITCH: those guards.
5. ALLOW: policies that come, and what policies gain. What may move from one to another is at both meanwhile.
6. ROUTE: where requests are sent, once whoever is there lets them in.
7. TAKE: what policies lose, and policies that go; then whoever verified tokens for them.
8. LOOSEN: guards refuse no more than they should; the last of all that goes.
9. UNGATE: as 1, the other way round.

So, without a switch: in 2 guards refuse at least what they refused, which holds for what the old policies permit; from
3 on they refuse at least what they will, which holds for what the new ones permit. A permission is old, new or both.
With one switch only what both sides permit is permitted around it. Routes permit nothing. From wherever a run ends, the
next one plans anew: what it finds permits no more than old or new, and so does all that follows.

What is permitted on both sides stays permitted, but for 3.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum

from meshward.cluster.connection import Object
from meshward.cluster.guards import is_guard, narrowed
from meshward.cluster.manifest import (
    Key,
    between,
    key_of,
    may_meet,
    scope,
    spec_of,
    stand_in,
)
from meshward.cluster.permissions import atoms, fits, is_allow, with_atoms


class Phase(IntEnum):
    GATE = 1
    TIGHTEN = 2
    CONTRACT = 3
    SWITCH = 4
    ALLOW = 5
    ROUTE = 6
    TAKE = 7
    LOOSEN = 8
    UNGATE = 9


@dataclass(frozen=True, slots=True)
class Step:
    """One write, or the removal of `key` where there is no `body`."""

    phase: Phase
    key: Key
    body: Object | None


Objects = Mapping[Key, Object]
_GATES = (
    "Gateway",
    "Namespace",
    "Telemetry",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
)
_ROUTES = ("ServiceEntry", "Sidecar", "DestinationRule", "VirtualService", "HTTPRoute")
"""In the order in which they come; they go the other way round."""


def plan_steps(live: Objects, wanted: Objects, root_namespace: str) -> tuple[Step, ...]:
    """From `live`, all that is there of ours, to exactly `wanted`. What is the same on both sides is left alone."""
    plan = _Plan({**live}, live, wanted, root_namespace)
    for take in (_gate, _tighten, _contract, _switch, _allow, _route, _take, _loosen, _ungate):
        take(plan)
    return tuple(plan.steps)


def states(live: Objects, steps: tuple[Step, ...]) -> Iterator[dict[Key, Object]]:
    """What is there after each step, beginning with `live`."""
    now = {**live}
    yield {**now}
    for step in steps:
        if step.body is None:
            now.pop(step.key, None)
        else:
            now[step.key] = step.body
        yield {**now}


@dataclass(slots=True)
class _Plan:
    now: dict[Key, Object]
    live: Objects
    wanted: Objects
    root: str
    steps: list[Step] = field(default_factory=list)

    def ordered(self, *, last_first: bool = False) -> list[Key]:
        return sorted({*self.now, *self.live, *self.wanted}, key=_rank, reverse=last_first)

    def put(self, phase: Phase, body: Object) -> None:
        key = key_of(body)
        if self.now.get(key) != body:
            self.now[key] = body
            self.steps.append(Step(phase, key, body))

    def drop(self, phase: Phase, key: Key) -> None:
        if self.now.pop(key, None) is not None:
            self.steps.append(Step(phase, key, None))

    def settle(self, phase: Phase, key: Key) -> None:
        """As wanted."""
        body = self.wanted.get(key)
        if body is None:
            self.drop(phase, key)
        else:
            self.put(phase, body)

    def sides(self, key: Key) -> tuple[Object | None, Object | None]:
        return self.live.get(key), self.wanted.get(key)

    def changes(self, key: Key) -> bool:
        old, new = self.sides(key)
        return old != new


def _rank(key: Key) -> tuple[int, Key]:
    names = (*_GATES, *_ROUTES)
    return (names.index(key.kind) if key.kind in names else len(names), key)


def _is_gate(key: Key) -> bool:
    return key.kind in _GATES


def _guards(old: Object | None, new: Object | None) -> bool:
    """Whether it is a guard on both sides; of one that permits on either, `_permits`."""
    return all(side is None or is_guard(side) for side in (old, new)) and not _permits(old, new)


def _permits(old: Object | None, new: Object | None) -> bool:
    """An ALLOW policy that stays one, or that comes or goes with rules."""
    if old is None or new is None:
        return any(side is not None and is_allow(side) and not is_guard(side) for side in (old, new))
    return is_allow(old) and is_allow(new) and scope(old) == scope(new)


def _replaced(old: Object | None, new: Object | None) -> bool:
    """Whether one name is to mean another guard, or a policy for others: both stand until the new one is in force."""
    if old is None or new is None or old["kind"] not in ("AuthorizationPolicy", "PeerAuthentication"):
        return False
    return scope(old) != scope(new) or spec_of(old).get("action", "ALLOW") != spec_of(new).get(
        "action", "ALLOW"
    )


def _switches(old: Object | None, new: Object | None) -> bool:
    return _guards(old, new) and not _replaced(old, new) and narrowed(old, new) is None


def _gate(plan: _Plan) -> None:
    for key in plan.ordered():
        if _is_gate(key) and key in plan.wanted:
            plan.settle(Phase.GATE, key)


def _tighten(plan: _Plan) -> None:
    for key in plan.ordered():
        old, new = plan.sides(key)
        if not plan.changes(key):
            continue
        if new is not None and _replaced(old, new):
            if is_guard(new):
                plan.put(Phase.TIGHTEN, stand_in(new))
        elif _guards(old, new) and (body := narrowed(old, new)) is not None:
            plan.put(Phase.TIGHTEN, body)


def _contract(plan: _Plan) -> None:
    switching = [[side for side in plan.sides(key) if side is not None] for key in _switching(plan)]
    staying = {atom for body in plan.wanted.values() for atom in atoms(body)} if switching else set()
    for body in plan.live.values() if switching else ():
        if not is_allow(body) or is_guard(body):
            continue
        met = sum(any(may_meet(side, body, plan.root) for side in sides) for sides in switching)
        held = atoms(body)
        left = held & staying if met == 1 else frozenset()
        if met and left != held:
            plan.put(Phase.CONTRACT, with_atoms(body, left))


def _switch(plan: _Plan) -> None:
    for key in _switching(plan):
        plan.settle(Phase.SWITCH, key)


def _switching(plan: _Plan) -> list[Key]:
    keys = (key for key in plan.ordered() if plan.changes(key) and _switches(*plan.sides(key)))
    return [key for key in keys if key in plan.wanted or not _stays_last(plan, key)]


def _stays_last(plan: _Plan, key: Key) -> bool:
    """Whether it may verify tokens until all is taken: nothing is gained meanwhile by whoever has one."""
    if key.kind != "RequestAuthentication":
        return False
    here = plan.live[key]
    held, coming = (
        {atom for body in side.values() if may_meet(here, body, plan.root) for atom in atoms(body)}
        for side in (plan.live, plan.wanted)
    )
    return coming <= held


def _allow(plan: _Plan) -> None:
    for key in plan.ordered():
        old, new = plan.sides(key)
        if new is None or not plan.changes(key):
            continue
        if _replaced(old, new) and not is_guard(new):
            plan.put(Phase.ALLOW, stand_in(new))
        elif old is None and _permits(old, new):
            plan.put(Phase.ALLOW, new)
    permitting = [key for key in plan.ordered() if key in plan.now and _permits(*plan.sides(key))]
    left = {key: atoms(plan.wanted.get(key)) for key in permitting}
    held = {key: atoms(plan.now[key]) for key in permitting}
    losing = [plan.now[key] for key in permitting if held[key] - left[key]]
    for key in permitting:
        new = plan.wanted.get(key)
        if new is None or plan.now[key] == new:
            continue
        if held[key] <= left[key]:
            plan.put(Phase.ALLOW, new)
        elif left[key] - held[key] and _somebody_else(plan, key, losing):
            both = with_atoms(new, held[key] | left[key])
            if fits(both):
                plan.put(Phase.ALLOW, both)


def _somebody_else(plan: _Plan, key: Key, losing: list[Object]) -> bool:
    """Whether another policy loses something at a workload of this one: it may be what this one gains."""
    here = plan.now[key]
    return any(key_of(each) != key and may_meet(each, here, plan.root) for each in losing)


def _route(plan: _Plan) -> None:
    others = [key for key in plan.ordered() if _is_route(plan, key)]
    for key in others:
        if (old := plan.now.get(key)) and (new := plan.wanted.get(key)) and key.kind == "DestinationRule":
            plan.put(Phase.ROUTE, _with_old_subsets(old, new))
        elif key in plan.wanted:
            plan.settle(Phase.ROUTE, key)
    for key in reversed(others):
        plan.settle(Phase.ROUTE, key)


def _is_route(plan: _Plan, key: Key) -> bool:
    """All that neither guards nor permits."""
    old, new = plan.sides(key)
    known = _is_gate(key) or _guards(old, new) or _permits(old, new) or _replaced(old, new)
    return not known and (old or new) is not None


def _with_old_subsets(old: Object, new: Object) -> Object:
    """Routes that still name a subset find it until they have changed."""
    subsets = list(spec_of(new).get("subsets") or ())
    named = {each.get("name") for each in subsets}
    left = [each for each in spec_of(old).get("subsets") or () if each.get("name") not in named]
    return between(new, {**spec_of(new), "subsets": [*subsets, *left]}) if left else new


def _take(plan: _Plan) -> None:
    for key in plan.ordered():
        old, new = plan.sides(key)
        if old is not None and new is not None and (_permits(old, new) or _takes(old, new)):
            plan.put(Phase.TAKE, new)
    for key in plan.ordered():
        old, new = plan.sides(key)
        if new is None and _permits(old, new):
            plan.drop(Phase.TAKE, key)
    for key in plan.ordered():
        if key in plan.live and key not in plan.wanted and _switches(*plan.sides(key)):
            plan.drop(Phase.TAKE, key)


def _takes(old: Object, new: Object) -> bool:
    """Whether what a name comes to mean permits no more what it permitted; its stand-in is there."""
    return _replaced(old, new) and is_allow(old)


def _loosen(plan: _Plan) -> None:
    for key in plan.ordered():
        if not _is_gate(key) and key in plan.wanted:
            plan.settle(Phase.LOOSEN, key)
    for key in plan.ordered(last_first=True):
        if not _is_gate(key) and key not in plan.wanted:
            plan.drop(Phase.LOOSEN, key)


def _ungate(plan: _Plan) -> None:
    for key in plan.ordered(last_first=True):
        plan.settle(Phase.UNGATE, key)
