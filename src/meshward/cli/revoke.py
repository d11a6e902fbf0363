"""meshward revoke: refuse a subject, one token or an agent from the next request on, and end their answers."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from cyclopts import Parameter

from meshward.cli.asking import ask_instance
from meshward.cli.options import DEFAULT_STATE, Json, RemoteEdge, State
from meshward.cli.output import print_json, run_verb, stdout
from meshward.control.verbs.revoke import REVOKE, ToldRevoked
from meshward.kit import codes
from meshward.kit.errors import MeshwardError
from meshward.kit.exits import Exit
from meshward.kit.names import is_name
from meshward.kit.text import one_line
from meshward.policy.grammar import parse_instant


def command(
    *,
    subject: Annotated[str | None, Parameter(help="`<issuer's name>:<subject>`, as records name it.")] = None,
    token_id: Annotated[str | None, Parameter(help="A token's `jti`.")] = None,
    agent: Annotated[str | None, Parameter(help="An agent, as the policy names it.")] = None,
    until: Annotated[
        str | None,
        Parameter(help="When it ends (UTC), e.g. '2026-11-23 10:00'; one that is past ends it now."),
    ] = None,
    edge: RemoteEdge = None,
    state: State = DEFAULT_STATE,
    json: Json = False,
) -> None:
    """Refuse a subject, a token or an agent at the edge from the next request on, and end the answers that run.

    Guards refuse the subject or agent too. Without any, list what is revoked. Exits 0 when every hop has it, 5 naming
    one that did not take it.
    """

    def run() -> Exit:
        whom = {"subject": subject, "token_id": token_id, "agent": agent}
        _require_sense(whom, until)
        done = ask_instance(state, REVOKE, {**whom, "until": _seconds(until)}, edge)
        if json:
            print_json({"ok": True, **done.as_json()})
        else:
            stdout().print("\n".join(_lines(done)), markup=False)
        return Exit.OK

    run_verb(run, as_json=json)


def _require_sense(whom: dict[str, str | None], until: str | None) -> None:
    given = [name for name in whom.values() if name is not None]
    if len(given) > 1:
        raise _usage_error("give one of --subject, --token-id and --agent")
    if until is not None and not given:
        raise _usage_error("--until goes with --subject, --token-id or --agent")
    if whom["subject"] is not None and not all(whom["subject"].partition(":")):
        raise _usage_error("a subject is spelled `<issuer's name>:<subject>`")
    if whom["agent"] is not None and not is_name(whom["agent"]):
        raise _usage_error("an agent is given by its name in the policy")
    if whom["token_id"] == "":
        raise _usage_error("a token is given by its `jti`")


def _lines(done: ToldRevoked) -> list[str]:
    found = [("subject", done.subjects), ("token", done.tokens), ("agent", done.agents)]
    lines = [
        f"{kind} {one_line(name)}: revoked{_end(until)}"
        for kind, table in found
        for name, until in sorted(table.items())
    ]
    return lines or ["Nothing is revoked."]


def _end(until: int | None) -> str:
    return "" if until is None else f" until {datetime.fromtimestamp(until, UTC):%Y-%m-%d %H:%M:%SZ}"


def _seconds(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return parse_instant(text)
    except ValueError as error:
        raise _usage_error(f"--until: {error}") from None


def _usage_error(message: str) -> MeshwardError:
    return MeshwardError(codes.REVOKE_USAGE, message)
