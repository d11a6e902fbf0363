"""meshward rollback: apply an earlier revision's policy once more."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from meshward.cli.apply import Allow, Reason, base_of, tell
from meshward.cli.asking import ask_instance
from meshward.cli.options import DEFAULT_STATE, Json, RemoteEdge, State
from meshward.cli.output import run_verb
from meshward.control.verbs.apply import ROLLBACK
from meshward.kit.exits import Exit


def command(
    revision: Annotated[int, Parameter(help="Its number, as `meshward history` names it.")],
    /,
    *,
    reason: Reason = "",
    allow: Allow = [],  # noqa: B006  read only
    edge: RemoteEdge = None,
    state: State = DEFAULT_STATE,
    json: Json = False,
) -> None:
    """Make an earlier revision's policy what runs again. It is an apply like any other, and gets a number of its own.

    Exits as `meshward apply` does.
    """

    def run() -> Exit:
        given = {"revision": revision, "base": base_of(state, edge), "reason": reason}
        done = ask_instance(state, ROLLBACK, {**given, "allow": list(allow)}, edge)
        return tell(done, as_json=json)

    run_verb(run, as_json=json)
