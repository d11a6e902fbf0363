"""What the conditions of grants and denies are as boxes. What is not known meets no grant's, and every deny's."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network

from meshward.compare.boxes import EVERYTHING, MOST_AGENTS, UNKNOWN, Axis, Box, product
from meshward.compare.spans import Span, Spans, before, only, spans
from meshward.plan.ir import Condition
from meshward.policy.values import Hours, Network

TIME, SOURCE, FRESH, VIA, PERSON = (
    ("time", ""), ("source", ""), ("fresh", ""), ("via", ""), ("person", ""),
)  # fmt: skip
NO_PERSON, PERSON_UNKNOWN, IS_PERSON = 0, 1, 2
DIRECTLY = 0
_DAY, _WEEK = 24 * 60, 7 * 24 * 60
_IPV6 = 1 << 32  # IPv6 addresses lie above all of IPv4

AgentKey = Hashable
"""An agent as both plans would know it: its name, and how it proves who it is."""
Acting = tuple[AgentKey, int]
"""An agent that may act, and in how long a chain at most."""


@dataclass(frozen=True, slots=True)
class Names:
    """What both plans name: the place of each model in a list, and all agents."""

    models: Mapping[str, int]
    agents: Sequence[AgentKey]
    _numbers: dict[Hashable, int] = field(default_factory=dict)

    def number(self, meaning: Hashable) -> int:
        """The same for what is equal, in whichever plan."""
        return self._numbers.setdefault(meaning, len(self._numbers))


def lasting(end: int | None) -> Box:
    """Until `end`; None: for ever."""
    return EVERYTHING if end is None else {TIME: before(end)}


def asked_for(given: Hashable) -> Box:
    """Once somebody has asked for it; `given`: for how long, and who must agree. None: nobody need ask."""
    return EVERYTHING if given is None else {("asked", given): only(1)}


def box_of(when: Condition | None, *, known: bool) -> Box:
    """The requests that meet all of `when`, but `via` and `actor`; with `known`, surely so."""
    if when is None:
        return EVERYTHING
    doubt = [] if known else [(UNKNOWN, UNKNOWN + 1)]
    box: dict[Axis, Spans] = {}
    if when.sources is not None:
        box[SOURCE] = spans([*_addresses(when.sources), *doubt])
    if when.hours is not None:
        box[("hours", when.hours.zone)] = _minutes(when.hours)
    if when.fresh is not None:
        box[FRESH] = spans([(0, when.fresh), *doubt])
    if when.person is not None:
        wanted = IS_PERSON if when.person == "required" else NO_PERSON
        box[PERSON] = only(wanted) if known else only(wanted, PERSON_UNKNOWN)
    return box


def called_by(callers: Iterable[str], names: Names) -> Box:
    """A call that one of these models makes on the caller's behalf."""
    return {VIA: only(*(names.models[name] for name in callers if name in names.models))}


DIRECT: Box = {VIA: only(DIRECTLY)}


def acting(may: Mapping[AgentKey, int], actor: str | None, names: Names) -> list[Box]:
    """The chains of agents that `may` act, in so long a chain at most; `actor`: as a `when` asks."""
    if actor == "absent":
        may = {}
    chains: Box = {("agent", key): spans([(0, may.get(key, 0) + 1)]) for key in names.agents}
    return product([chains], in_chain(may)) if actor == "present" else [chains]


def in_chain(agents: Iterable[AgentKey]) -> list[Box]:
    """A chain with one of them in it, however long."""
    return [{("agent", key): spans([(1, MOST_AGENTS + 1)])} for key in agents]


def deny_chains(actor: str | None, names: Names) -> list[Box]:
    if actor is None:
        return [EVERYTHING]
    return in_chain(names.agents) if actor == "present" else acting({}, None, names)


def _addresses(networks: Iterable[Network]) -> Iterator[Span]:
    """::ffff:192.0.2.1 is 192.0.2.1, so what a network holds of these names nobody."""
    for network in networks:
        above = 0 if isinstance(network, IPv4Network) else _IPV6
        yield int(network.network_address) + above, int(network.broadcast_address) + above + 1


def _minutes(hours: Hours) -> Spans:
    """Of the week, from Monday's midnight on. An end before the start belongs to the day on which it starts."""
    length = hours.end - hours.start if hours.start <= hours.end else hours.end - hours.start + _DAY
    found: list[Span] = []
    for day in hours.days:
        first = day * _DAY + hours.start
        found += [(first, min(first + length, _WEEK)), (0, first + length - _WEEK)]
    return spans(found)
