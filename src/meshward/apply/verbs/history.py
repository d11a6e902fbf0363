"""history, policy: what was applied here, who changed what, and what runs. They change nothing."""

from __future__ import annotations

from typing import Any

from meshward.apply.mesh import Mesh
from meshward.apply.verbs.request import Asker, Fields, Verb
from meshward.audit.changes import changes_of
from meshward.audit.store import Records
from meshward.policy.parse import to_json


class History(Fields):
    """`changes`: who changed what, in place of the revisions."""

    changes: bool = False


class Nothing(Fields):
    """Nothing has to be said."""


def _history(given: History, _: Asker, mesh: Mesh) -> dict[str, Any]:
    if given.changes:
        return {"changes": changes_told(Records(mesh.machine.state.path))}
    revisions = [each.as_json() for each in mesh.revisions.all()[::-1]]
    return {"current": mesh.standing.revision, "revisions": revisions}


def changes_told(records: Records) -> list[dict[str, Any]]:
    """Every change that is kept, newest first, as JSON. Closes `records`."""
    try:
        return [each.as_json() for each in changes_of(records.changes())[::-1]]
    finally:
        records.close()


def _policy(_: Nothing, __: Asker, mesh: Mesh) -> dict[str, Any]:
    standing = mesh.standing
    return {"revision": standing.revision, "digest": standing.plan.digest, "policy": to_json(standing.policy)}


HISTORY = Verb(History, _history, right="apply", reads=lambda _: True)
POLICY = Verb(Nothing, _policy, right="apply", reads=lambda _: True)
