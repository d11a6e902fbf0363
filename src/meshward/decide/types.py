"""What a decision is made from, and what comes out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address

from meshward.kit.reasons import Reason
from meshward.plan.ir import Limits
from meshward.policy.schema import Action


@dataclass(frozen=True, slots=True)
class Identity:
    """The verified facts about a caller. `subject` is the issuer's stable id, without the issuer's name."""

    issuer: str | None = None
    subject: str | None = None
    groups: tuple[str, ...] = ()
    claims: Mapping[str, object] = field(default_factory=dict)
    attributes: Mapping[str, str] = field(default_factory=dict)
    workload: str | None = None
    actors: tuple[str, ...] = ()  # agents' names, the current actor first
    authenticated_at: int | None = None

    @property
    def name(self) -> str:
        """`<issuer's name>:<subject>`, the spelling used everywhere; a workload is `workload:<name>`."""
        if self.workload is not None and self.issuer is None:
            return f"workload:{self.workload}"
        return f"{self.issuer}:{self.subject or ''}"


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked. `at` is seconds since the epoch; `via` the model on whose behalf it is called."""

    model: str
    action: Action
    at: int
    source: IPv4Address | IPv6Address | None = None
    via: str | None = None


@dataclass(frozen=True, slots=True)
class Permit:
    permission: str  # <model>.<action>
    grants: tuple[str, ...]  # every grant that holds, in the policy's order
    pays: str  # the first of them
    limits: Limits | None  # of the one that pays
    roles: tuple[str, ...]
    holds_until: int | None  # when a condition, membership or expiry changes next; None: never


@dataclass(frozen=True, slots=True)
class Miss:
    """A grant that nearly held, and what it lacked, in a sentence."""

    grant: str
    lacks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Denial:
    """`sentence` says what is missing; `misses` nearest first."""

    permission: str
    reason: Reason
    sentence: str
    remedy: str
    misses: tuple[Miss, ...]
    roles: tuple[str, ...]
    holds_until: int | None


Decision = Permit | Denial
