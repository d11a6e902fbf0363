"""What the running instance can be asked over its control socket, and what it answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from meshward.apply.mesh import Mesh, Outcome, Wish
from meshward.edge.revoked import Revoked
from meshward.kit.errors import Exit, MeshwardError
from meshward.policy.parse import Source, parse, to_json


@dataclass(frozen=True, slots=True)
class Asked:
    request: Mapping[str, Any]
    author: str
    say: Callable[[str], None]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Apply(_Request):
    """`policy` is its canonical JSON; without `base`, on top of whatever runs."""

    policy: str
    base: int | None = None
    reason: str = ""
    allow: list[str] = []
    plan: str | None = None


class Rollback(_Request):
    revision: int
    base: int | None = None
    reason: str = ""
    allow: list[str] = []


class Revoke(_Request):
    """`until`: seconds since the epoch; one that is past ends a revocation."""

    subject: str | None = None
    token_id: str | None = None
    until: int | None = None


def answer(asked: Asked, mesh: Mesh) -> dict[str, Any]:
    """Do what is asked. Raises MeshwardError."""
    kind, fields = asked.request.get("do"), {k: v for k, v in asked.request.items() if k != "do"}
    try:
        if kind == "apply":
            return _apply(Apply.model_validate(fields), asked, mesh)
        if kind == "rollback":
            return _rollback(Rollback.model_validate(fields), asked, mesh)
        if kind == "revoke":
            return _revoke(Revoke.model_validate(fields), asked, mesh)
    except ValidationError as error:
        raise _misasked(f"{error.error_count()} fields are wrong") from None
    raise _misasked("it is none of apply, rollback, revoke")


def _apply(given: Apply, asked: Asked, mesh: Mesh) -> dict[str, Any]:
    wish = Wish(asked.author, given.reason, given.base, frozenset(given.allow), given.plan)
    document = parse([Source("policy", given.policy.encode())])
    return _told(mesh.apply(document, wish, asked.say))


def _rollback(given: Rollback, asked: Asked, mesh: Mesh) -> dict[str, Any]:
    policy = mesh.revisions.policy(given.revision)
    reason = given.reason or f"rollback to revision {given.revision}"
    wish = Wish(asked.author, reason, given.base, frozenset(given.allow))
    document = parse([Source(f"revision {given.revision}", to_json(policy).encode())])
    return _told(mesh.apply(document, wish, asked.say))


def _revoke(given: Revoke, asked: Asked, mesh: Mesh) -> dict[str, Any]:
    def more(now: Revoked) -> Revoked:
        if given.subject is not None:
            return replace(now, subjects={**now.subjects, given.subject: given.until})
        if given.token_id is not None:
            return replace(now, tokens={**now.tokens, given.token_id: given.until})
        return now

    asked_for_more = given.subject is not None or given.token_id is not None
    revoked = mesh.revoke(more, asked.author) if asked_for_more else mesh.revoked()
    return {"subjects": dict(revoked.subjects), "tokens": dict(revoked.tokens)}


def _told(outcome: Outcome) -> dict[str, Any]:
    change = outcome.change
    return {
        "revision": outcome.revision,
        "changed": change is not None,
        "change": change.digest if change else None,
        "lines": change.lines() if change else [],
        "seconds": round(outcome.seconds, 3),
    }


def _misasked(why: str) -> MeshwardError:
    return MeshwardError(
        "MW3028", f"the instance was asked what it does not know: {why}", "", exit_code=Exit.USAGE
    )
