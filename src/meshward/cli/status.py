"""meshward status: what runs here, as whom, and how each model's server can be reached."""

from __future__ import annotations

from meshward.cli.options import DEFAULT_STATE, Json, State
from meshward.cli.output import print_json, run_verb, stdout
from meshward.instance.status import status
from meshward.kit.exits import Exit


def command(*, state: State = DEFAULT_STATE, json: Json = False) -> None:
    """Show each part: up or down, pid, uid, restarts; whether records are kept; which model servers others could reach;
    how old each key and certificate is, and when it is replaced.

    Exits 0 if everything is up, records are kept, none were lost in the last day and every key is in its time, else 11.
    """

    def run() -> Exit:
        seen = status(state)
        if json:
            print_json(seen.as_json())
        else:
            stdout().print("\n".join(seen.lines()), markup=False)
        return Exit.OK if seen.healthy else Exit.FINDINGS

    run_verb(run, as_json=json)
