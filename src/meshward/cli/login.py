"""meshward login: sign in as a person, with the identity that one has."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.text import Text

from meshward.cli.options import DEFAULT_STATE, EdgeUrl, Json, State
from meshward.cli.output import print_json, run_verb, stderr, stdout
from meshward.kit.exits import Exit
from meshward.login.session import sign_in
from meshward.login.store import SavedLogin, own_store
from meshward.login.target import target_of
from meshward.login.terminal import Terminal, browse, has_browser


def command(
    *,
    edge: EdgeUrl = None,
    issuer: Annotated[str | None, Parameter(help="The issuer, where the edge trusts several.")] = None,
    client: Annotated[
        str | None, Parameter(help="The client to sign in with, in place of the edge's; needs --issuer.")
    ] = None,
    scope: Annotated[str | None, Parameter(help="Scopes to ask for, in place of the usual ones.")] = None,
    redirect: Annotated[
        str | None, Parameter(help="The redirect URI, where the issuer demands one that is registered whole.")
    ] = None,
    browser: Annotated[
        bool, Parameter(name="--browser", negative="--no-browser", help="Open a browser, if there is one.")
    ] = True,
    cacert: Annotated[Path | None, Parameter(help="Root certificates that vouch for the edge.")] = None,
    state: State = DEFAULT_STATE,
    json: Json = False,
) -> None:
    """Sign in at the issuer that the edge names, and keep the login for `token` and `meshward.clients`.

    By device flow where the issuer has it (any browser, on any machine), else with the browser of this machine.
    """

    def run() -> Exit:
        target = target_of(edge, issuer, client, cacert, state, os.environ)
        opener = browse if browser and has_browser(os.environ) else _no_browser
        try:
            login = sign_in(target, scope, redirect, Terminal(_tell, opener, stderr().status))
        except KeyboardInterrupt:
            _tell("Stopped; nothing was stored.")
            return Exit.FAULT
        own_store().save(login)
        _report(login, as_json=json)
        return Exit.OK

    run_verb(run, as_json=json)


def _report(login: SavedLogin, *, as_json: bool) -> None:
    if as_json:
        print_json({"ok": True, **_facts(login)})
        return
    console = stdout()
    console.print(Text(f"signed in for {login.name} at {login.issuer}", style="bold green"))
    if login.kind == "id":
        console.print(
            f"  The issuer's access token is opaque, so the ID token is sent; its audience is `{login.client}`, which "
            "the policy's `audience` must list.",
            markup=False,
        )
    end = datetime.fromtimestamp(login.expires_at, UTC).strftime("%H:%M UTC")
    refreshed = "and is refreshed by itself" if login.refresh else f"(until {end}; then sign in again)"
    console.print(f"  The token is kept {refreshed}. Next: meshward whoami", markup=False)


def _facts(login: SavedLogin) -> dict[str, object]:
    return {
        "name": login.name,
        "issuer": login.issuer,
        "client": login.client,
        "kind": login.kind,
        "expires_at": login.expires_at,
        "refreshes": login.refresh is not None,
    }


def _tell(line: str) -> None:
    """On stderr: what is asked of the person is no result."""
    stderr().print(Text(line))


def _no_browser(_: str) -> bool:
    return False
