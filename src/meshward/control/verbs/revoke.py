"""revoke: refuse a subject, a token or an agent whatever the policy says, or no more; without any, list them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, TypeAdapter

from meshward.apply.decision_hop import DecisionHop
from meshward.apply.revocable import not_revoked_error, require_revocable, require_spelling, seen_here
from meshward.apply.revocation_store import KINDS, Revocation, Revocations
from meshward.apply.revoke import current_revocations, revoke
from meshward.callers.bindings import Kind
from meshward.control.verbs.request import Asker, Controlled, Fields, Reason, Reply, Text, Verb
from meshward.kit import codes
from meshward.kit.clock import system_clock
from meshward.kit.dates import LATEST
from meshward.kit.errors import MeshwardError

_LONGEST = 8192  # characters of a name: more than a token holds

Name = Annotated[str, Field(max_length=_LONGEST)]


class Revoke(Fields):
    """`agent` by the policy's name. `until`: seconds since the epoch; one that is past ends a revocation, as `undo`.

    `unknown`: also somebody of whom nothing is known here.
    """

    subject: Name | None = None
    token_id: Name | None = None
    agent: Name | None = None
    until: Annotated[int, Field(ge=0, le=LATEST)] | None = None
    reason: Reason = ""
    unknown: bool = False
    undo: bool = False


class ToldRevocation(Reply):
    """Who is refused, and why. `names` are others of theirs, refused too; `since`: 0 where it is not known."""

    kind: str
    name: Text
    until: int | None
    since: int
    author: Text
    reason: Text
    names: tuple[Text, ...]


class ToldRevoked(Reply):
    """Who is refused, until when: seconds since the epoch, or None for ever. `revocations` says more of each."""

    subjects: dict[Text, int | None]
    tokens: dict[Text, int | None]
    agents: dict[Text, int | None]
    revocations: tuple[ToldRevocation, ...] = ()


def _revoke(given: Revoke, asker: Asker, instance: Controlled) -> ToldRevoked:
    mesh = instance.mesh
    if _reads(given):
        return _told(current_revocations(mesh))
    kind, name = _whom(given)
    ends = given.undo or (given.until is not None and given.until <= system_clock())
    if not ends:
        hop = DecisionHop(mesh.machine)
        seen = seen_here(mesh.machine.state.path, lambda: (*hop.callers(), *instance.met))
        if given.unknown:
            require_spelling(mesh.live.plan, seen, kind, name)
        else:
            require_revocable(mesh.live.plan, current_revocations(mesh), seen, kind, name)
    since, author = int(system_clock()), _utf8(asker.author)
    revocation = Revocation(given.until, since, author, _utf8(given.reason))

    def change(now: Revocations) -> Revocations:
        if not ends:
            return now.put(kind, name, revocation)
        if now.key(kind, name) is None:
            raise not_revoked_error(now, kind, name, past=not given.undo)
        return now.without(kind, name)

    return _told(revoke(mesh, change, asker.author))


def _whom(given: Revoke) -> tuple[Kind, str]:
    """Raises MeshwardError unless it is one."""
    names: dict[Kind, str | None] = {"subject": given.subject, "token": given.token_id, "agent": given.agent}
    whom = [(kind, name) for kind, name in names.items() if name is not None]
    if len(whom) != 1:
        raise MeshwardError(
            codes.NOT_UNDERSTOOD, "one of a subject, a token and an agent is revoked at a time", ""
        )
    return whom[0]


def _told(now: Revocations) -> ToldRevoked:
    revoked = now.revoked
    return ToldRevoked(
        subjects=dict(revoked.subjects),
        tokens=dict(revoked.tokens),
        agents=dict(revoked.agents),
        revocations=tuple(
            _told_one(kind, name, each) for kind in KINDS for name, each in sorted(now.of(kind).items())
        ),
    )


def _told_one(kind: Kind, name: str, each: Revocation) -> ToldRevocation:
    return ToldRevocation(
        kind=kind,
        name=name,
        until=each.until,
        since=each.since,
        author=each.author,
        reason=each.reason,
        names=each.names,
    )


def _utf8(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def _reads(given: Revoke) -> bool:
    return given == Revoke()


REVOKE = Verb("revoke", Revoke, TypeAdapter(ToldRevoked), _revoke, right="apply", reads=_reads)
