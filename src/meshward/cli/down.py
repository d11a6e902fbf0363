"""meshward down: stop the running instance."""

from __future__ import annotations

from meshward.cli.options import DEFAULT_STATE, Json, State
from meshward.cli.output import print_json, run_verb, stderr, stdout
from meshward.instance.down import down
from meshward.kit.exits import Exit


def command(*, state: State = DEFAULT_STATE, json: Json = False) -> None:
    """Stop everything that `up` started; state and records stay."""

    def run() -> Exit:
        stopped = down(state, progress=_progress)
        if json:
            print_json({"ok": True, "was_running": stopped})
        else:
            stdout().print(
                "Stopped; nothing is left running." if stopped else f"Nothing was running in {state}."
            )
        return Exit.OK

    run_verb(run, as_json=json)


def _progress(line: str) -> None:
    stderr().print(f"... {line}", markup=False)
