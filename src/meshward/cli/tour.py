"""meshward tour: the demo's promises, tried against the running instance."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.text import Text

from meshward.cli.options import DEFAULT_STATE, Json, State
from meshward.cli.output import print_json, run_verb, stdout
from meshward.kit.exits import Exit
from meshward.runtime.place.instance_file import load_instance
from meshward.tour.guide import Told, walk_tour


def command(*, state: State = DEFAULT_STATE, json: Json = False) -> None:
    """Try everything that the demo promises, and show each request, its answer and why.

    Exits 0 only if every step came out as promised, else 1.
    """
    run_verb(lambda: tour(state, as_json=json), as_json=json)


def tour(state: Path, *, as_json: bool = False) -> Exit:
    """Walk the tour and print it."""
    told: list[dict[str, Any]] = []
    kept = walk_tour(
        load_instance(state), state, lambda step: told.append(step.as_json()) if as_json else _show(step)
    )
    if as_json:
        print_json({"ok": kept, "steps": told})
    else:
        verdict = "Every step came out as promised." if kept else "Not every promise was kept: see above."
        stdout().print(Text(verdict, style="bold green" if kept else "bold red"))
    return Exit.OK if kept else Exit.FAULT


def _show(step: Told) -> None:
    mark, style = ("✓", "green") if step.kept else ("✗", "bold red")
    console = stdout()
    console.print(Text(f"{mark} {step.title}", style=style))
    for line in (step.asked, f"-> {step.answered}", f"   {step.why}"):
        console.print(Text(f"    {line}"))
