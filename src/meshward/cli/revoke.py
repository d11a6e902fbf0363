"""meshward revoke: refuse a subject, one token or an agent from the next request on, and end their answers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Annotated

from cyclopts import Parameter

from meshward.cli.asking import ask_instance
from meshward.cli.options import DEFAULT_STATE, Json, RemoteEdge, State
from meshward.cli.output import print_json, run_verb, stdout
from meshward.control.verbs.revoke import REVOKE, ToldRevocation, ToldRevoked
from meshward.kit import codes
from meshward.kit.clock import to_second
from meshward.kit.dates import LATEST
from meshward.kit.errors import MeshwardError
from meshward.kit.exits import Exit
from meshward.kit.text import one_line, quoted
from meshward.policy.grammar import parse_date, parse_instant


def command(
    *,
    subject: Annotated[str | None, Parameter(help="`<issuer's name>:<subject>`, as records name it.")] = None,
    token_id: Annotated[str | None, Parameter(help="A token's `jti`.")] = None,
    agent: Annotated[str | None, Parameter(help="An agent, as the policy names it.")] = None,
    until: Annotated[
        str | None,
        Parameter(help="When it ends (UTC): '2026-11-23', that day's end, or '2026-11-23 10:00'."),
    ] = None,
    reason: Annotated[str, Parameter(help="Why, for whoever lists it later.")] = "",
    unknown: Annotated[
        bool,
        Parameter(
            negative="",
            help="Also somebody of whom nothing is known here: no request, no line of the policy.",
        ),
    ] = False,
    undo: Annotated[bool, Parameter(negative="", help="Refuse them no more.")] = False,
    edge: RemoteEdge = None,
    state: State = DEFAULT_STATE,
    json: Json = False,
) -> None:
    """Refuse a subject, a token or an agent at the edge from the next request on, and end the answers that run.

    Guards refuse the subject or agent too. Without any, list what is revoked. Exits 0 when every hop has it, 2 where
    nobody is known by that name, 5 naming a hop that did not take it, or where it could not be kept.
    """

    def run() -> Exit:
        whom = {"subject": subject, "token_id": token_id, "agent": agent}
        _require_sense(whom, more=until is not None or bool(reason) or unknown or undo)
        if undo and until is not None:
            raise _usage_error("--undo ends it now: give no --until")
        asked = {**whom, "until": _seconds(until), "reason": reason, "unknown": unknown, "undo": undo}
        done = ask_instance(state, REVOKE, asked, edge)
        if json:
            print_json({"ok": True, **done.as_json()})
        else:
            stdout().print("\n".join([*_outcome(whom, done), *_lines(done)]), markup=False)
        return Exit.OK

    run_verb(run, as_json=json)


def _require_sense(whom: dict[str, str | None], *, more: bool) -> None:
    given = [name for name in whom.values() if name is not None]
    if len(given) > 1:
        raise _usage_error("give one of --subject, --token-id and --agent")
    if more and not given:
        raise _usage_error("--until, --reason, --unknown and --undo go with --subject, --token-id or --agent")


def _outcome(whom: dict[str, str | None], done: ToldRevoked) -> Iterator[str]:
    """What became of whoever was named, where the list does not say it."""
    kind, name = next(((kind, name) for kind, name in whom.items() if name is not None), ("", ""))
    listed = {"subject": done.subjects, "token_id": done.tokens, "agent": done.agents}
    if name and name not in listed[kind]:
        yield f"{kind.replace('_', ' ')} {one_line(name)}: revoked no more"
    elif name and kind == "token_id":
        yield f"Whether any token has the `jti` {one_line(name)} nobody can tell: none is kept here."


def _lines(done: ToldRevoked) -> list[str]:
    return [_line(each) for each in done.revocations] or ["Nothing is revoked."]


def _line(each: ToldRevocation) -> str:
    line = f"{each.kind} {one_line(each.name)}: revoked"
    line += f" until {to_second(each.until)}" if each.until is not None else ""
    line += f", since {to_second(each.since)} by {one_line(each.author)}" if each.since else ""
    line += f" ({one_line(each.reason)})" if each.reason else ""
    return line + (f"; also as {one_line(', '.join(each.names))}" if each.names else "")


def _seconds(text: str | None) -> int | None:
    """As the policy spells the end of a grant, or the moment of a test."""
    if text is None:
        return None
    for parse in (parse_date, parse_instant):
        with suppress(ValueError):
            return min(parse(text), LATEST)
    example = "write one like `2026-11-23` or, in UTC, `2026-11-23 10:00`"
    raise _usage_error(f"--until: {quoted(text)} is not a date: {example}")


def _usage_error(message: str) -> MeshwardError:
    return MeshwardError(codes.REVOKE_USAGE, message)
