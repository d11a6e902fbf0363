"""apply, rollback: another policy in place of the one that runs."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field, TypeAdapter

from meshward.apply.transaction import AS_IT_RUNS, ApplyRequest, Outcome
from meshward.apply.transaction import apply as make_live
from meshward.control.verbs.request import Asker, Controlled, Fields, Reason, Reply, Text, Verb
from meshward.policy.parse import Source, parse, to_json
from meshward.policy.site import parse_site


class Apply(Fields):
    """`policy` and `site` are canonical JSON; without `site` it stays, without `base` on top of whatever runs."""

    policy: str = Field(repr=False)
    site: str | None = Field(default=None, repr=False)
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
    """`change` is its digest; None, and nothing in `lines`, where the policy ran already.

    `elsewhere`: versions whose hop is not on that machine, and was not awaited; where each is.
    """

    revision: int
    changed: bool
    change: str | None
    lines: tuple[Text, ...]
    seconds: float
    elsewhere: Mapping[str, Text] = Field(default_factory=dict)


def _apply(given: Apply, asker: Asker, instance: Controlled) -> Applied:
    wanted = ApplyRequest(
        asker.author,
        given.reason,
        given.base,
        frozenset(given.allow),
        given.plan,
        AS_IT_RUNS if given.site is None else parse_site(Source("site", given.site.encode())).site,
        not asker.here,
    )
    document = parse([Source("policy", given.policy.encode())])
    return outcome_reply(make_live(instance.mesh, document, wanted, asker.say))


def _rollback(given: Rollback, asker: Asker, instance: Controlled) -> Applied:
    policy = instance.mesh.revisions.policy(given.revision)
    reason = given.reason or f"rollback to revision {given.revision}"
    site = instance.mesh.revisions.site(given.revision)
    wanted = ApplyRequest(
        asker.author, reason, given.base, frozenset(given.allow), None, site, not asker.here
    )
    document = parse([Source(f"revision {given.revision}", to_json(policy).encode())])
    return outcome_reply(make_live(instance.mesh, document, wanted, asker.say))


def outcome_reply(outcome: Outcome) -> Applied:
    """What an apply came to, as it is told."""
    change = outcome.change
    return Applied(
        revision=outcome.revision,
        changed=change is not None,
        change=change.digest if change else None,
        lines=(*change.lines(), *outcome.moves) if change else (),
        seconds=round(outcome.seconds, 3),
        elsewhere=outcome.elsewhere,
    )


APPLY = Verb("apply", Apply, TypeAdapter(Applied), _apply, right="apply")
ROLLBACK = Verb("rollback", Rollback, TypeAdapter(Applied), _rollback, right="apply")
