"""A decision told to a person: who asks, which roles and why, what holds or what is missing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from meshward.decide import wording
from meshward.decide.decide import Decider
from meshward.decide.roles import Membership
from meshward.decide.types import Decision, Denial, Identity, Permit, Request
from meshward.kit.dates import calendar
from meshward.kit.text import join_words
from meshward.plan.ir import Limits, Plan
from meshward.policy.values import Rate


@dataclass(frozen=True, slots=True)
class Explanation:
    """A decision, and what it was made from. `memberships` holds lines whose time is over as well."""

    identity: Identity
    request: Request
    decision: Decision
    memberships: tuple[Membership, ...]
    revision: str

    def lines(self) -> list[str]:
        """For a terminal: the verdict first, then why."""
        return list(_lines(self))

    def as_json(self) -> dict[str, Any]:
        """For programs: stable keys, `decision` is `permit` or `denial`."""
        return _as_json(self)


def explain(plan: Plan, identity: Identity, request: Request) -> Explanation:
    """`decide`, with its grounds. `request.model` may be an alias."""
    request = replace(request, model=plan.aliases.get(request.model, request.model))
    decider = Decider(plan)
    decision, memberships = decider.decide(identity, request), decider.memberships(identity)
    return Explanation(identity, request, decision, memberships, plan.digest)


def _lines(story: Explanation) -> Iterator[str]:
    decision = story.decision
    if isinstance(decision, Permit):
        yield f"permit: {decision.permission}"
        yield f"  grant {decision.pays} pays{_limits(decision.limits)}"
        yield from (f"  grant {grant} holds too" for grant in decision.grants[1:])
    else:
        yield f"denial: {decision.permission} ({decision.reason})"
        yield f"  {decision.sentence}"
        yield f"  what to do: {decision.remedy}"
        yield from (f"  grant {miss.grant} lacks {join_words(miss.lacks, 'and')}" for miss in decision.misses)
    yield from _who(story)
    if decision.holds_until is not None:
        yield f"  the same until {_instant(decision.holds_until)}"


def _who(story: Explanation) -> Iterator[str]:
    actors = "".join(f", through the agent {actor}" for actor in story.identity.actors)
    yield f"  who: {wording.caller(story.identity)}{actors}"
    if not story.memberships:
        yield "  roles: none"
    for membership in story.memberships:
        over = "" if membership.lasts(story.request.at) else ", but its time is over"
        yield f"  role {membership.role}: from {wording.member(membership.line)}{over}"


def _as_json(story: Explanation) -> dict[str, Any]:
    decision = story.decision
    return {
        "decision": "permit" if isinstance(decision, Permit) else "denial",
        "permission": decision.permission,
        "subject": story.identity.name,
        "actors": list(story.identity.actors),
        "roles": list(decision.roles),
        "because": [
            {
                "role": membership.role,
                "line": wording.member(membership.line),
                "until": membership.line.until,
                "lasts": membership.lasts(story.request.at),
            }
            for membership in story.memberships
        ],
        **(_denial(decision) if isinstance(decision, Denial) else _permit(decision)),
        "at": story.request.at,
        "holds_until": decision.holds_until,
        "policy": story.revision,
    }


def _permit(permit: Permit) -> dict[str, Any]:
    return {
        "grants": list(permit.grants),
        "pays": permit.pays,
        "limits": _limits(permit.limits).strip(" ()") or None,
    }


def _denial(denial: Denial) -> dict[str, Any]:
    return {
        "reason": denial.reason,
        "sentence": denial.sentence,
        "remedy": denial.remedy,
        "misses": [{"grant": miss.grant, "lacks": list(miss.lacks)} for miss in denial.misses],
    }


def _limits(limits: Limits | None) -> str:
    if limits is None:
        return ""
    parts = [
        f"{_rate(rate)} {word}"
        for word, rate in (("requests", limits.requests), ("tokens", limits.tokens))
        if rate
    ]
    if limits.concurrent is not None:
        parts.append(f"{limits.concurrent} at once")
    return f" ({', '.join(parts)} per {limits.per})"


def _rate(rate: Rate) -> str:
    return f"{rate.count}/{wording.duration(rate.seconds)}"


def _instant(at: int) -> str:
    return calendar(at).strftime("%Y-%m-%d %H:%M:%S UTC")
