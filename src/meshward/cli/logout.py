"""meshward logout: forget a login."""

from __future__ import annotations

import os

from meshward.cli.options import DEFAULT_STATE, EdgeUrl, Json, State
from meshward.cli.output import print_json, run_verb, stdout
from meshward.kit.exits import Exit
from meshward.login.session import choose, forget
from meshward.login.store import own_store


def command(*, edge: EdgeUrl = None, state: State = DEFAULT_STATE, json: Json = False) -> None:
    """Revoke the login at its issuer, where that can be done, and forget it here."""

    def run() -> Exit:
        store = own_store()
        name = choose(store, edge, state, os.environ)
        problem = forget(store, name)
        if json:
            print_json({"ok": True, "name": name, "revoked": problem is None, "problem": problem})
        else:
            said = problem or "It was revoked at the issuer too."
            stdout().print(f"The login for {name} is forgotten. {said}", markup=False)
        return Exit.OK

    run_verb(run, as_json=json)
