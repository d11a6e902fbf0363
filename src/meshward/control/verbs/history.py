"""history, policy: what was applied here, who changed what, and what runs. They change nothing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from pydantic import TypeAdapter

from meshward.apply.revisions import Revision, Revisions
from meshward.audit.changes import ChangeEntry, changes_of
from meshward.audit.records import Records
from meshward.control.verbs.request import Asker, Controlled, Fields, Reply, Text, Verb
from meshward.kit.canonical import canonical_json
from meshward.kit.errors import MeshwardError
from meshward.policy.parse import to_json

_ROOM = 700_000  # bytes of an answer: `login.wire` reads a million
_LINES = 20_000  # of changes, more than fit: anybody with a token can be refused without end


class History(Fields):
    """`changes`: who changed what, in place of the revisions. Where not all fit, `more` is true of the newest."""

    changes: bool = False


class WhichPolicy(Fields):
    """Of which revision; None: of the one that runs."""

    revision: int | None = None


class ToldRevision(Reply):
    """`apply.revisions.Revision`, as it is told."""

    number: int
    status: str
    digest: str
    parent: int
    author: Text
    time: float
    reason: Text
    why: Text

    @classmethod
    def of(cls, revision: Revision) -> ToldRevision:
        return cls(**{name: getattr(revision, name) for name in cls.model_fields})


class ToldChange(Reply):
    """`audit.changes.ChangeEntry`, as it is told."""

    id: Text
    at: float
    author: Text
    did: Text
    outcome: Text
    facts: dict[Text, Text]

    @classmethod
    def of(cls, change: ChangeEntry) -> ToldChange:
        facts = dict(change.facts)
        return cls(
            id=change.id,
            at=change.at,
            author=change.author,
            did=change.did,
            outcome=change.outcome,
            facts=facts,
        )


class ToldRevisions(Reply):
    """Newest first. `more`: there are older ones, which did not fit. `damaged`: why others cannot be used."""

    current: int
    revisions: tuple[ToldRevision, ...]
    more: bool = False
    damaged: tuple[Text, ...] = ()


class ToldChanges(Reply):
    """Newest first. `more`: there are older ones, which did not fit."""

    changes: tuple[ToldChange, ...]
    more: bool = False


class ToldPolicy(Reply):
    """A revision's; `policy` is its canonical JSON. `record` where a revision was asked for by its number."""

    revision: int
    digest: str
    policy: str
    record: ToldRevision | None = None


_Told = TypeVar("_Told", bound=Reply)


def _history(given: History, asker: Asker, instance: Controlled) -> ToldRevisions | ToldChanges:
    return (_changes if given.changes else _revisions)(given, asker, instance)


def _changes(_: History, __: Asker, instance: Controlled) -> ToldChanges:
    changes = told_changes(Records(instance.mesh.machine.state.path), _LINES)
    newest = _cut_to_room(changes)
    return ToldChanges(changes=newest, more=len(newest) < len(changes))


def _revisions(_: History, __: Asker, instance: Controlled) -> ToldRevisions:
    mesh = instance.mesh
    told = told_revisions(mesh.revisions, mesh.live.revision)
    kept = _cut_to_room(told.revisions)
    return told.model_copy(update={"revisions": kept, "more": len(kept) < len(told.revisions)})


def _cut_to_room(found: Iterable[_Told]) -> tuple[_Told, ...]:
    """As many of the first as one answer holds."""
    kept, room = list[_Told](), _ROOM
    for each in found:
        room -= len(canonical_json(each.as_json()).encode()) + 1
        if room < 0:
            break
        kept.append(each)
    return tuple(kept)


def told_revisions(revisions: Revisions, current: int) -> ToldRevisions:
    """All of them."""
    found, damaged = revisions.readable()
    told = tuple(map(ToldRevision.of, reversed(found)))
    return ToldRevisions(current=current, revisions=told, damaged=tuple(map(told_damage, damaged)))


def told_damage(error: MeshwardError) -> str:
    """In one line, what it is and what helps."""
    return f"{error.code.number}: {error.message}. {error.remedy}"


def told_changes(records: Records, most: int = -1) -> tuple[ToldChange, ...]:
    """The changes that the last `most` lines tell of (-1: all), newest first. Closes `records`."""
    try:
        return tuple(map(ToldChange.of, changes_of(records.changes(most=most))[::-1]))
    finally:
        records.close()


def told_policy(revisions: Revisions, number: int) -> ToldPolicy:
    """Raises MeshwardError where there is none of that number, or it is altered."""
    policy = revisions.policy(number)
    record = ToldRevision.of(revisions.record(number))
    return ToldPolicy(revision=number, digest=record.digest, policy=to_json(policy), record=record)


def _policy(given: WhichPolicy, __: Asker, instance: Controlled) -> ToldPolicy:
    live = instance.mesh.live
    if given.revision is not None:
        return told_policy(instance.mesh.revisions, given.revision)
    return ToldPolicy(revision=live.revision, digest=live.plan.digest, policy=to_json(live.policy))


def _reads(_: Fields) -> bool:
    return True


HISTORY: Verb[History, ToldRevisions | ToldChanges] = Verb(
    "history", History, TypeAdapter(ToldRevisions | ToldChanges), _history, right="apply", reads=_reads
)
REVISIONS = Verb("history", History, TypeAdapter(ToldRevisions), _revisions, right="apply", reads=_reads)
CHANGES = Verb("history", History, TypeAdapter(ToldChanges), _changes, right="apply", reads=_reads)
"""`history`, for whoever knows which of its two replies they ask for."""
POLICY = Verb("policy", WhichPolicy, TypeAdapter(ToldPolicy), _policy, right="apply", reads=_reads)
