"""meshward whoami: who you are to an edge, and what you may do there."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from meshward.cli.options import DEFAULT_STATE, EdgeUrl, Json, State
from meshward.cli.output import print_json, run_verb, stdout
from meshward.kit.exits import Exit
from meshward.login.session import choose, fresh_login, who_am_i
from meshward.login.store import own_store


def command(*, edge: EdgeUrl = None, state: State = DEFAULT_STATE, json: Json = False) -> None:
    """Ask the edge who its policy says you are: identity, roles, permissions, and until when.

    Exits 2 if nobody is signed in, 10 if the edge does not take the token.
    """

    def run() -> Exit:
        store = own_store()
        told = who_am_i(fresh_login(store, choose(store, edge, state, os.environ)))
        if json:
            print_json(told)
        else:
            stdout().print("\n".join(_lines(told)), markup=False)
        return Exit.OK

    run_verb(run, as_json=json)


def _lines(told: Mapping[str, Any]) -> Iterator[str]:
    yield f"{told['identity']} (by {told['issuer']})"
    if told.get("revoked"):
        yield "  revoked: nothing is permitted until that ends"
    yield f"  groups: {', '.join(told['groups']) or 'none'}"
    yield f"  roles: {', '.join(told['roles']) or 'none: ask for a group that the policy gives one'}"
    yield f"  may{':' if told['permissions'] else ' call nothing here'}"
    for permission in told["permissions"]:
        limit = f", {permission['limit']}" if permission["limit"] else ""
        until = f", until {_instant(permission['holds_until'])}" if permission["holds_until"] else ""
        yield f"    {permission['model']}.{permission['action']}  (grant {permission['grant']}{limit}{until})"
    yield f"  token good until {_instant(told['expires_at'])}; revision {told['revision']}"


def _instant(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
