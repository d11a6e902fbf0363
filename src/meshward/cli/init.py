"""meshward init: from an issuer's URL and a model's URL to a policy that works."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.text import Text

from meshward.cli.options import Json
from meshward.cli.output import print_json, print_problems, run_verb, stderr, stdout
from meshward.draft.questions import Given, ask_by, ask_for_draft, by_flags, check_draft, unanswered_error
from meshward.draft.text import Draft, first_call
from meshward.kit.durable import write_atomic
from meshward.kit.errors import Problem
from meshward.kit.exits import Exit


def command(
    *,
    issuer: Annotated[str | None, Parameter(help="The issuer's URL, exactly as its tokens name it.")] = None,
    model_url: Annotated[
        str | None, Parameter(help="unix:/path or http://host:port of a model server.")
    ] = None,
    client: Annotated[
        str | None, Parameter(help="The public client that people sign in with; empty for none.")
    ] = None,
    audience: Annotated[
        str | None, Parameter(help="What the issuer's tokens for this edge name as `aud`.")
    ] = None,
    group: Annotated[
        str | None, Parameter(help="A group of the issuer whose members may use the model.")
    ] = None,
    subject: Annotated[str | None, Parameter(help="In place of a group: one caller's stable id.")] = None,
    claim: Annotated[
        str | None, Parameter(help="In place of a group: NAME=VALUE, a claim that callers must have.")
    ] = None,
    server: Annotated[
        str | None, Parameter(help="The kind of the model server, if it does not tell.")
    ] = None,
    name: Annotated[str | None, Parameter(help="What the policy calls the model.")] = None,
    listen: Annotated[str, Parameter(help="Where the edge listens.")] = "127.0.0.1:8443",
    hostname: Annotated[str, Parameter(help="The edge's host name.")] = "localhost",
    out: Annotated[Path, Parameter(help="The file to write.")] = Path("policy.yaml"),
    force: Annotated[bool, Parameter(negative="", help="Replace the file if it is there.")] = False,
    json: Json = False,
) -> None:
    """Discover an issuer and a model server, and write a policy with a first role and grant.

    Asks for what is not given if it runs in a terminal. Changes nothing but the file.
    """

    def run() -> Exit:
        if out.exists() and not force:
            raise unanswered_error(
                f"`{out}` is there already", "Give --force to replace it, or another --out."
            )
        ask = ask_by(_prompt, sys.stdin.readline) if sys.stdin.isatty() and not json else by_flags
        flags = (issuer, model_url, client, audience, group, subject, claim, server, name, listen, hostname)
        draft = ask_for_draft(Given(*flags), ask, _say)
        text, findings = check_draft(draft, out)
        write_atomic(out.resolve(), text, 0o644)
        _report(draft, out, findings, as_json=json)
        return Exit.OK

    run_verb(run, as_json=json)


def _report(draft: Draft, out: Path, findings: list[Problem], *, as_json: bool) -> None:
    if as_json:
        facts = {"profile": draft.issuer.profile, "server": draft.server.kind, "model": draft.name}
        print_json({"ok": True, "policy": str(out), **facts})
        return
    print_problems(findings)
    lines = [f"{out}: written and good. Next:", f"  meshward up {out}"]
    if draft.client is not None:
        lines.append("and, in another terminal in this directory:")
        lines += [f"  {line}" for line in ("meshward login", "meshward whoami", first_call(draft))]
    stdout().print("\n".join(lines), markup=False)


def _prompt(question: str) -> None:
    stderr().print(Text(question), end="")


def _say(line: str) -> None:
    stderr().print(Text(f"... {line}", style="dim"))
