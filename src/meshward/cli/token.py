"""meshward token: a fresh token for scripts, and nothing else, on stdout."""

from __future__ import annotations

import os
import sys
from typing import Annotated

from cyclopts import Parameter

from meshward.cli.options import DEFAULT_STATE, EdgeUrl, State
from meshward.cli.output import run_verb
from meshward.kit.exits import Exit
from meshward.login.session import choose, fresh_login
from meshward.login.store import own_store


def command(
    *,
    edge: EdgeUrl = None,
    header: Annotated[
        bool, Parameter(negative="", help="As a header line, for `curl -H @-`: no token among arguments.")
    ] = False,
    state: State = DEFAULT_STATE,
) -> None:
    """Print the login's token, refreshed if it holds for less than a minute.

    Exits 2 if nobody is signed in, 10 if the login is over.
    """

    def run() -> Exit:
        store = own_store()
        login = fresh_login(store, choose(store, edge, state, os.environ))
        sys.stdout.write(f"{'Authorization: Bearer ' if header else ''}{login.token.reveal()}\n")
        return Exit.OK

    run_verb(run)
