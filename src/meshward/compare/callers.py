"""Callers of whom nothing is true but what is asked of them, as each of two plans would see them.

Facts are named by what they are read from: a group by its issuer and its place in tokens, an attribute by its claim, a
workload by its SPIFFE ID. Where a plan reads them elsewhere, it does not see them.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product

from meshward.decide.types import Identity
from meshward.plan.ir import Agent, Member, Plan

NOBODY = "\0"
"""A text that no policy can write: another subject, another value than any that is named."""
Path = tuple[str, ...]
Claim = tuple[Path, str, str | int | bool]
"""A claim's place, its type, its value: 1 is not `true`, though Python finds them equal."""
UNKNOWN, OTHER = "\0unknown", "\0other"
"""Of an attribute: that it is not known, or what no model has. Else it is a label."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is true of a caller, and all that is. `attributes` are those that no claim gives."""

    issuer: str | None
    workload: str | None
    subject: str | None
    groups: frozenset[str] = frozenset()
    claims: frozenset[Claim] = frozenset()
    attributes: frozenset[tuple[str, str]] = frozenset()

    def and_(self, other: Facts) -> Facts | None:
        """Both, of one caller; None where nobody is both."""
        one = _one_of(self.workload, other.workload), _one_of(self.subject, other.subject)
        joined = replace(
            self,
            workload=one[0],
            subject=one[1],
            groups=self.groups | other.groups,
            claims=self.claims | other.claims,
            attributes=self.attributes | other.attributes,
        )
        whole = self.issuer == other.issuer and NOBODY not in one and _tree(joined.claims) is not None
        return joined if whole else None


def facts_of(line: Member) -> Facts:
    """What `line` asks, its issuer included."""
    return Facts(
        issuer=line.issuer,
        workload=line.workload,
        subject=line.subject,
        groups=frozenset([line.group] if line.group is not None else ()),
        claims=frozenset(_claim(_path(name), value) for name, value in line.claims),
    )


def with_attributes(facts: Facts, plan: Plan, wanted: Mapping[str, Iterable[str]]) -> Iterator[Facts]:
    """`facts` with each choice of `wanted` attributes, as `plan` reads them, but what nobody can have."""
    names = list(wanted)
    for values in product(*(list(wanted[name]) for name in names)):
        found: Facts | None = facts
        for name, value in zip(names, values, strict=True):
            found = _with_attribute(found, plan, name, value) if found is not None else None
        if found is not None:
            yield found


def _with_attribute(facts: Facts, plan: Plan, name: str, value: str) -> Facts | None:
    source = source_of(plan, facts.issuer, name)
    text = {UNKNOWN: None, OTHER: NOBODY}.get(value, value)
    if source is None:
        more = frozenset() if text is None else frozenset([(name, text)])
        return replace(facts, attributes=facts.attributes | more)
    if not source.startswith("/"):
        return facts if value in (source, OTHER) else None
    path = _path(source)
    known = next((claimed for place, _, claimed in facts.claims if place == path), None)
    if known is not None:
        return facts if value in (known, OTHER) else None
    if text is None:
        return facts
    return facts.and_(Facts(facts.issuer, None, None, claims=frozenset([_claim(path, text)])))


def seen_by(plan: Plan, facts: Facts, writer: Plan, attributes: Iterable[str]) -> Identity:
    """Whom `plan` takes them for, when `facts` are spelled as `writer` spells them."""
    issuer = facts.issuer
    same = issuer is None or issuer_meaning(plan, issuer) == issuer_meaning(writer, issuer)
    grouped = issuer is None or place_of_groups(plan, issuer) == place_of_groups(writer, issuer)
    workload = facts.workload
    if workload is not None and workload_meaning(plan, workload) != workload_meaning(writer, workload):
        workload = NOBODY
    return Identity(
        issuer=issuer if same else NOBODY,
        subject=None if issuer is None else facts.subject or NOBODY,
        groups=tuple(sorted(facts.groups)) if grouped else (),
        claims=_tree(facts.claims) or {},
        attributes=dict(_attributes(plan, facts, attributes)),
        workload=workload,
    )


def issuer_meaning(plan: Plan, name: str) -> tuple[str, ...]:
    """Whom a name means. By the name it is in every subject, by which it is revoked and recorded."""
    issuer = plan.issuers.get(name)
    return (name, issuer.url, issuer.profile) if issuer is not None else (name,)


def place_of_groups(plan: Plan, name: str) -> Hashable:
    issuer = plan.issuers.get(name)
    return (issuer_meaning(plan, name), issuer.groups if issuer is not None else None)


def workload_meaning(plan: Plan, name: str) -> Hashable:
    return (name, plan.workloads.get(name))


def agent_meaning(plan: Plan, agent: Agent) -> Hashable:
    """Which program an agent's name means."""
    workload = agent.workload and workload_meaning(plan, agent.workload)
    issuer = agent.issuer and issuer_meaning(plan, agent.issuer)
    return (agent.name, workload, issuer, agent.subject)


def line_meaning(plan: Plan, line: Member) -> Hashable:
    """What `line` asks, with all that it is read from. Equal in two plans: the same people, in both."""
    return (
        line,
        tuple(type(value).__name__ for _, value in line.claims),
        line.issuer and place_of_groups(plan, line.issuer),
        line.workload and workload_meaning(plan, line.workload),
    )


def source_of(plan: Plan, issuer: str | None, attribute: str) -> str | None:
    """Where an attribute is read: a pointer, or a constant. None: the plan does not say."""
    known = plan.issuers.get(issuer) if issuer is not None else None
    return known.attributes.get(attribute) if known is not None else None


def is_opaque(plan: Plan, attribute: str) -> bool:
    """Whether its values matter to labels alone: it is no constant, and nothing else is read from its claim."""
    read = {_path(key) for lines in plan.roles.values() for line in lines for key, _ in line.claims}
    for issuer in plan.issuers.values():
        source = issuer.attributes.get(attribute)
        shared = source is not None and list(issuer.attributes.values()).count(source) > 1
        if source is not None and (shared or not source.startswith("/") or _path(source) in read):
            return False
    return True


def _attributes(plan: Plan, facts: Facts, names: Iterable[str]) -> Iterator[tuple[str, str]]:
    claims = {path: value for path, _, value in facts.claims}
    for name in names:
        source = source_of(plan, facts.issuer, name)
        if source is None:
            yield from ((name, value) for known, value in facts.attributes if known == name)
        else:
            value = claims.get(_path(source)) if source.startswith("/") else source
            if isinstance(value, str):
                yield name, value


def _one_of(left: str | None, right: str | None) -> str | None:
    """The one that is asked; NOBODY where they are two."""
    return NOBODY if left and right and left != right else left or right


def _claim(path: Path, value: str | int | bool) -> Claim:
    return path, type(value).__name__, value


def _path(key: str) -> Path:
    """A claim's place, whichever way it is spelled (`decide.claims`)."""
    if not key.startswith("/"):
        return (key,)
    return tuple(step.replace("~1", "/").replace("~0", "~") for step in key[1:].split("/"))


def _tree(claims: Iterable[Claim]) -> dict[str, object] | None:
    """Claims as a token holds them. None where no token can hold them all."""
    tree: dict[str, object] = {}
    for path, _, value in claims:
        node = tree
        for step in path[:-1]:
            below = node.setdefault(step, {})
            if not isinstance(below, dict):
                return None
            node = below
        if path[-1] in node:
            return None
        node[path[-1]] = value
    return tree
