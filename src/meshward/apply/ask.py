"""What the running instance can be asked: one module of `verbs` for each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from meshward.apply.mesh import Mesh
from meshward.apply.verbs.apply import APPLY, ROLLBACK
from meshward.apply.verbs.request import Asker, Verb
from meshward.apply.verbs.revoke import REVOKE
from meshward.kit.errors import Exit, MeshwardError

VERBS: Mapping[str, Verb] = {
    "apply": APPLY,
    "rollback": ROLLBACK,
    "revoke": REVOKE,
}


def answer(request: Mapping[str, Any], asker: Asker, mesh: Mesh) -> dict[str, Any]:
    """Do what `request` asks. Raises MeshwardError."""
    verb = VERBS.get(str(request.get("do")))
    if verb is None:
        raise misasked(f"it is none of {', '.join(VERBS)}")
    try:
        fields = verb.fields.model_validate({k: v for k, v in request.items() if k != "do"})
    except ValidationError as error:
        raise misasked(f"{error.error_count()} fields are wrong") from None
    return verb.do(fields, asker, mesh)


def misasked(why: str) -> MeshwardError:
    """A request that no command of this version makes."""
    return MeshwardError(
        "MW3028", f"the instance was asked what it does not know: {why}", "", exit_code=Exit.USAGE
    )
