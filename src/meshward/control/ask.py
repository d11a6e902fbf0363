"""What the running instance can be asked: one module of `verbs` for each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from meshward.control.verbs.apply import APPLY, ROLLBACK
from meshward.control.verbs.history import HISTORY, POLICY
from meshward.control.verbs.request import Asker, Controlled, Fields, Verb
from meshward.control.verbs.revoke import REVOKE
from meshward.control.verbs.rotate import ROTATE
from meshward.control.verbs.traffic import TRAFFIC
from meshward.kit import codes
from meshward.kit.errors import MeshwardError

VERBS: Mapping[str, Verb] = {
    "apply": APPLY,
    "rollback": ROLLBACK,
    "history": HISTORY,
    "policy": POLICY,
    "revoke": REVOKE,
    "traffic": TRAFFIC,
    "rotate": ROTATE,
}


def answer(request: Mapping[str, Any], asker: Asker, instance: Controlled) -> dict[str, Any]:
    """Do what `request` asks, if its asker may. Whatever is refused, or would change something, is written down.

    Raises MeshwardError.
    """
    did, changes = str(request.get("do")), instance.mesh.changes
    try:
        verb = _verb(did)
        asker.may(verb.right)
        given = _given(verb, request)
    except MeshwardError as error:
        changes.refused(asker.author, did if did in VERBS else "ask", error.code, asker.facts)
        raise
    if verb.reads(given):
        return verb.do(given, asker, instance)
    asked = {**given.facts(), **asker.facts}
    with changes.change(asker.author, did, asked, lambda: asker.may(verb.right)):
        return verb.do(given, asker, instance)


def _verb(did: str) -> Verb:
    verb = VERBS.get(did)
    if verb is None:
        raise misasked(f"it is none of {', '.join(VERBS)}")
    return verb


def _given(verb: Verb, request: Mapping[str, Any]) -> Fields:
    try:
        return verb.fields.model_validate({name: value for name, value in request.items() if name != "do"})
    except ValidationError as error:
        raise misasked(f"{error.error_count()} fields are wrong") from None


def misasked(why: str) -> MeshwardError:
    """A request that no command of this version makes."""
    return MeshwardError(codes.NOT_UNDERSTOOD, f"the instance was asked what it does not know: {why}", "")
