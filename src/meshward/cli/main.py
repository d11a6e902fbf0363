"""The command line: one small file per verb; this one only gathers them."""

from __future__ import annotations

import sys

from cyclopts import App, CycloptsError
from rich.console import Console

from meshward import __version__
from meshward.cli.output import fail
from meshward.kit import codes
from meshward.kit.errors import MeshwardError
from meshward.kit.exits import Exit

app = App(
    name="meshward",
    help="Identity-aware routing for model APIs: define who may use which model once; every hop enforces it.",
    version=__version__,
    help_epilogue="Exit codes: 0 fine, 1 fault, 2 usage or invalid policy, 3 conflict, 4 unsafe, 5 a hop refused, "
    "10 denied, 11 findings.",
)
VERBS = (
    *("init", "check", "explain", "up", "status", "trace", "tour", "down"),
    *("plan", "apply", "render", "align", "history", "rollback", "traffic", "revoke", "rotate", "svid"),
    *("login", "whoami", "token", "logout"),
)
for verb in VERBS:
    app.command(f"meshward.cli.{verb}:command", name=verb)  # imported when it is called


def main() -> None:
    """Entry point. Usage errors exit with 2 (cyclopts would say 1), and are JSON where that was asked for."""
    arguments = sys.argv[1:]
    as_json = "--json" in arguments
    try:
        if arguments[:1] in ([], ["--help"], ["-h"]):
            _import_all()
        app(arguments, exit_on_error=False, print_error=not as_json, error_console=Console(stderr=True))
    except CycloptsError as error:
        if as_json:
            fail(_usage_error(error), as_json=True)
        raise SystemExit(int(Exit.USAGE)) from None
    except KeyboardInterrupt:  # while a verb is imported: `run_verb` takes every later one
        raise SystemExit(int(Exit.FAULT)) from None


def _import_all() -> None:
    """The list of commands shows the first sentence of each, which is known once it is imported."""
    for verb in VERBS:
        app[verb]


def _usage_error(error: CycloptsError) -> MeshwardError:
    return MeshwardError(codes.COMMAND_USAGE, str(error))
