"""apply, rollback: another policy in place of the one that runs."""

from __future__ import annotations

from pydantic import Field, TypeAdapter

from meshward.apply.transaction import ApplyRequest, Outcome
from meshward.apply.transaction import apply as make_live
from meshward.control.verbs.request import Asker, Controlled, Fields, Reason, Reply, Text, Verb
from meshward.policy.parse import Source, parse, to_json


class Apply(Fields):
    """`policy` is its canonical JSON; without `base`, on top of whatever runs."""

    policy: str = Field(repr=False)
    base: int | None = None
    reason: Reason = ""
    allow: list[str] = Field(default_factory=list)
    plan: str | None = None


class Rollback(Fields):
    revision: int
    base: int | None = None
    reason: Reason = ""
    allow: list[str] = Field(default_factory=list)


class Applied(Reply):
    """`change` is its digest; None, and nothing in `lines`, where the policy ran already."""

    revision: int
    changed: bool
    change: str | None
    lines: tuple[Text, ...]
    seconds: float


def _apply(given: Apply, asker: Asker, instance: Controlled) -> Applied:
    wanted = ApplyRequest(
        asker.author, given.reason, given.base, frozenset(given.allow), given.plan, not asker.here
    )
    document = parse([Source("policy", given.policy.encode())])
    return outcome_reply(make_live(instance.mesh, document, wanted, asker.say))


def _rollback(given: Rollback, asker: Asker, instance: Controlled) -> Applied:
    policy = instance.mesh.revisions.policy(given.revision)
    reason = given.reason or f"rollback to revision {given.revision}"
    wanted = ApplyRequest(asker.author, reason, given.base, frozenset(given.allow), None, not asker.here)
    document = parse([Source(f"revision {given.revision}", to_json(policy).encode())])
    return outcome_reply(make_live(instance.mesh, document, wanted, asker.say))


def outcome_reply(outcome: Outcome) -> Applied:
    """What an apply came to, as it is told."""
    change = outcome.change
    return Applied(
        revision=outcome.revision,
        changed=change is not None,
        change=change.digest if change else None,
        lines=tuple(change.lines()) if change else (),
        seconds=round(outcome.seconds, 3),
    )


APPLY = Verb("apply", Apply, TypeAdapter(Applied), _apply, right="apply")
ROLLBACK = Verb("rollback", Rollback, TypeAdapter(Applied), _rollback, right="apply")
