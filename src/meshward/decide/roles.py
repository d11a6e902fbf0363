"""Which roles an identity holds, by which line of the policy, and until when."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from meshward.decide.claims import claim, same_value
from meshward.decide.types import Identity
from meshward.plan.ir import Member

_Key = tuple[str | None, ...]


@dataclass(frozen=True, slots=True)
class Membership:
    """One line of a role that fits an identity, whether or not its time is over."""

    role: str
    line: Member

    def lasts(self, at: int) -> bool:
        return self.line.until is None or at < self.line.until


@dataclass(frozen=True, slots=True)
class HeldRoles:
    """The roles held at one instant, and the first instant after it at which one of them ends."""

    roles: frozenset[str]
    until: int | None


class RoleIndex:
    """The roles of a plan, indexed so that finding an identity's does not read every line."""

    def __init__(self, roles: Mapping[str, tuple[Member, ...]]) -> None:
        self._lines: dict[_Key, list[Membership]] = defaultdict(list)
        for role, lines in roles.items():
            for line in lines:
                self._lines[_key(line)].append(Membership(role, line))

    def memberships(self, identity: Identity) -> Iterator[Membership]:
        """Every line that fits `identity`, those whose `until` is past included."""
        for key in _keys(identity):
            for membership in self._lines.get(key, ()):
                if fits(membership.line, identity):
                    yield membership

    def held_roles(self, identity: Identity, at: int) -> HeldRoles:
        return _held_roles(m for m in self.memberships(identity) if m.lasts(at))


def fits(line: Member, identity: Identity) -> bool:
    """Whether all that `line` asks is true of `identity`; `until` is not looked at.

    A line without an issuer speaks of workloads in their own name, never of somebody on whose behalf one
    calls. A line that asks nothing of the caller but its issuer fits nobody.
    """
    asks = line.group is not None or line.subject is not None or line.workload is not None or line.claims
    if line.issuer != identity.issuer or not asks:
        return False
    if line.workload is not None and line.workload != identity.workload:
        return False
    if line.group is not None and line.group not in identity.groups:
        return False
    if line.subject is not None and line.subject != identity.subject:
        return False
    return all(same_value(claim(identity.claims, key), value) for key, value in line.claims)


def _held_roles(memberships: Iterable[Membership]) -> HeldRoles:
    """A role lasts as long as the longest of its lines."""
    ends: dict[str, int | None] = {}
    for membership in memberships:
        role, until = membership.role, membership.line.until
        known = ends.get(role, until)
        ends[role] = None if known is None or until is None else max(known, until)
    return HeldRoles(frozenset(ends), min((end for end in ends.values() if end is not None), default=None))


def _key(line: Member) -> _Key:
    """The one lookup key under which `line` is kept: the most selective thing that it asks."""
    if line.group is not None:
        return ("group", line.issuer, line.group)
    if line.subject is not None:
        return ("subject", line.issuer, line.subject)
    return ("any", line.issuer, line.workload if line.issuer is None else None)


def _keys(identity: Identity) -> Iterator[_Key]:
    for group in dict.fromkeys(identity.groups):
        yield ("group", identity.issuer, group)
    yield ("subject", identity.issuer, identity.subject)
    yield ("any", identity.issuer, identity.workload if identity.issuer is None else None)
