"""history, policy: what was applied here, who changed what, and what runs. They change nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from meshward.audit.changes import changes_of
from meshward.audit.store import Records
from meshward.control.verbs.request import Asker, Controlled, Fields, Verb
from meshward.kit.canonical import canonical_json
from meshward.policy.parse import to_json

_ROOM = 700_000  # bytes of an answer: `login.wire` reads a million
_LINES = 20_000  # of changes, more than fit: anybody with a token can be refused without end


class History(Fields):
    """`changes`: who changed what, in place of the revisions. Where not all fit, `more` is true of the newest."""

    changes: bool = False


class Nothing(Fields):
    """Nothing has to be said."""


def _history(given: History, _: Asker, instance: Controlled) -> dict[str, Any]:
    mesh = instance.mesh
    if given.changes:
        told = changes_told(Records(mesh.machine.state.path), _LINES)
        newest = _fitting(told)
        return {"changes": newest, "more": len(newest) < len(told)}
    revisions = [each.as_json() for each in mesh.revisions.all()[::-1]]
    kept = _fitting(revisions)
    return {"current": mesh.live.revision, "revisions": kept, "more": len(kept) < len(revisions)}


def _fitting(found: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """As many of the first as one answer holds."""
    kept, room = list[Mapping[str, Any]](), _ROOM
    for each in found:
        room -= len(canonical_json(each).encode()) + 1
        if room < 0:
            break
        kept.append(each)
    return kept


def changes_told(records: Records, most: int = -1) -> list[dict[str, Any]]:
    """The changes that the last `most` lines tell of (-1: all), newest first, as JSON. Closes `records`."""
    try:
        return [each.as_json() for each in changes_of(records.changes(most=most))[::-1]]
    finally:
        records.close()


def _policy(_: Nothing, __: Asker, instance: Controlled) -> dict[str, Any]:
    live = instance.mesh.live
    return {"revision": live.revision, "digest": live.plan.digest, "policy": to_json(live.policy)}


HISTORY = Verb(History, _history, right="apply", reads=lambda _: True)
POLICY = Verb(Nothing, _policy, right="apply", reads=lambda _: True)
