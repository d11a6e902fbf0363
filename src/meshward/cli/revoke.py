"""meshward revoke: refuse a subject, or one token, from the next request on."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from cyclopts import Parameter

from meshward.cli.asking import ask_instance
from meshward.cli.options import DEFAULT_STATE, Json, State
from meshward.cli.output import guarded, print_json, stdout
from meshward.kit.errors import Exit, MeshwardError
from meshward.policy.values import parse_instant


def command(
    *,
    subject: Annotated[str | None, Parameter(help="`<issuer's name>:<subject>`, as records name it.")] = None,
    token_id: Annotated[str | None, Parameter(help="A token's `jti`.")] = None,
    until: Annotated[
        str | None,
        Parameter(help="When it ends (UTC), e.g. '2026-11-23 10:00'; one that is past ends it now."),
    ] = None,
    state: State = DEFAULT_STATE,
    json: Json = False,
) -> None:
    """Refuse a subject or a token at the edge from the next request on, and a subject at every guard.

    Without either, list what is revoked. Exits 0 when every hop has it, 5 naming one that did not take it.
    """

    def run() -> Exit:
        if subject is not None and token_id is not None:
            raise _usage("give --subject or --token-id, not both")
        if until is not None and subject is None and token_id is None:
            raise _usage("--until goes with --subject or --token-id")
        if subject is not None and not all(subject.partition(":")):
            raise _usage("a subject is spelled `<issuer's name>:<subject>`")
        request = {"do": "revoke", "subject": subject, "token_id": token_id, "until": _seconds(until)}
        done = ask_instance(state, request)
        if json:
            print_json({"ok": True, **done})
        else:
            stdout().print("\n".join(_lines(done)), markup=False)
        return Exit.OK

    guarded(run, as_json=json)


def _lines(done: dict[str, Any]) -> list[str]:
    found = [("subject", done["subjects"]), ("token", done["tokens"])]
    lines = [
        f"{kind} {name}: revoked{_end(until)}"
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
        raise _usage(f"--until: {error}") from None


def _usage(message: str) -> MeshwardError:
    return MeshwardError("MW0902", message, "See `meshward revoke --help`.", exit_code=Exit.USAGE)
