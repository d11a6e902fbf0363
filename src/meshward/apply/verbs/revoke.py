"""revoke: refuse a subject or a token whatever the policy says; without either, list what is revoked."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from meshward.apply.mesh import Mesh
from meshward.apply.revoke import revoke, revoked
from meshward.apply.verbs.request import Asker, Fields, Verb
from meshward.edge.revoked import Revoked


class Revoke(Fields):
    """`until`: seconds since the epoch; one that is past ends a revocation."""

    subject: str | None = None
    token_id: str | None = None
    until: int | None = None


def _revoke(given: Revoke, asker: Asker, mesh: Mesh) -> dict[str, Any]:
    def more(now: Revoked) -> Revoked:
        if given.subject is not None:
            return replace(now, subjects={**now.subjects, given.subject: given.until})
        if given.token_id is not None:
            return replace(now, tokens={**now.tokens, given.token_id: given.until})
        return now

    asked_for_more = given.subject is not None or given.token_id is not None
    found = revoke(mesh, more, asker.author) if asked_for_more else revoked(mesh)
    return {"subjects": dict(found.subjects), "tokens": dict(found.tokens)}


REVOKE = Verb(Revoke, _revoke, right="apply")
