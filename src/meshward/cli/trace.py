"""meshward trace: one request's story at every hop."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from meshward.audit.store import Store
from meshward.cli.options import DEFAULT_STATE, Json, State
from meshward.cli.output import print_json, run_verb, stdout
from meshward.instance.records import proof
from meshward.kit.exits import Exit
from meshward.kit.text import spelled_out
from meshward.runtime.place import directories
from meshward.runtime.place.instance_file import load_instance
from meshward.trace.story import explain_missing, proven, wait_for
from meshward.trace.text import style_story

WITHIN = 2.0


def command(
    request_id: Annotated[str, Parameter(help="The X-Request-Id of the answer.")],
    /,
    *,
    state: State = DEFAULT_STATE,
    json: Json = False,
) -> None:
    """Tell what each hop did with one request: who, what, by which grant, and whether the hops agree.

    Exits 0 if every hop's half is there and they tell the same, 10 if not, 11 if nothing is known of it.
    """

    def run() -> Exit:
        load_instance(state)  # says so where nothing ever ran
        store = Store.read_only(state)
        story = wait_for(store, request_id, WITHIN)
        if story is None:
            kept = proof(directories.State(state))
            blind = () if kept.fresh else kept.lines()
            reasons = explain_missing(store, request_id, blind)
            print_json(
                {"ok": False, "request_id": request_id, "reasons": reasons}
            ) if json else stdout().print(
                "\n".join([f"{spelled_out(request_id)} is not in the store.", *reasons]), markup=False
            )
            return Exit.FINDINGS
        if json:
            print_json({"ok": proven(story), **story.as_json()})
        else:
            stdout().print(style_story(story))
        return Exit.OK if proven(story) else Exit.DENIED

    run_verb(run, as_json=json)
