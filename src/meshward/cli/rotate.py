"""meshward rotate: replace a key or a certificate at every hop, while requests run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter
from rich.text import Text

from meshward.cli.asking import ask_instance, running_policy
from meshward.cli.options import DEFAULT_STATE, Json, RemoteEdge, State
from meshward.cli.output import guarded, print_json, stdout
from meshward.kit.errors import Exit, MeshwardError
from meshward.policy.values import Unreadable, parse_duration

What = Literal["svids", "ca", "signing-key", "edge-certificate", "credential"]


def command(
    what: Annotated[What, Parameter(help="What to replace.")],
    name: Annotated[str | None, Parameter(help="With `credential`: its name in the policy.")] = None,
    /,
    *,
    root: Annotated[bool, Parameter(negative="", help="With `ca`: the root itself, with overlap.")] = False,
    finish: Annotated[
        bool, Parameter(negative="", help="With --root: drop the old root now; clients have the new one.")
    ] = False,
    force: Annotated[
        bool, Parameter(negative="", help="With --finish: though workloads' SVIDs below it are alive.")
    ] = False,
    overlap: Annotated[str, Parameter(help="With --root: how long both roots are trusted.")] = "24h",
    reason: Annotated[str, Parameter(help="Why; kept in the records.")] = "",
    edge: RemoteEdge = None,
    state: State = DEFAULT_STATE,
    json: Json = False,
) -> None:
    """Replace keys or certificates at every hop, with no failed request; all of them also rotate by themselves.

    `svids`: those of all guards, and the edge's as their client. `ca`: the intermediate that issues, and then every
    leaf. `signing-key`: of Transaction Tokens. `edge-certificate`: the edge's server certificate, issued or from files.

    Exits 0 when every hop was seen to run the new one, 4 where it would refuse somebody, 5 naming a hop that did not.
    """

    def run() -> Exit:
        _check(what, name, root=root, finish=finish, force=force)
        request: dict[str, Any] = {
            "do": "rotate",
            "what": what,
            "root": root,
            "finish": finish,
            "force": force,
        }
        request |= {"reason": reason, "overlap": _seconds(overlap)}
        if what == "credential":
            request |= {"name": name, "value": _value(str(name), state, edge)}
        done = ask_instance(state, request, edge)
        if json:
            print_json({"ok": True, **done})
        else:
            stdout().print(Text(_line(done)))
        return Exit.OK

    guarded(run, as_json=json)


def _check(what: str, name: str | None, *, root: bool, finish: bool, force: bool) -> None:
    if (what == "credential") != (name is not None):
        raise _usage("name the credential" if name is None else f"`{what}` takes no name")
    if root and what != "ca":
        raise _usage("--root goes with `ca`")
    if (finish and not root) or (force and not finish):
        raise _usage("--finish goes with --root, --force with --finish")


def _line(done: dict[str, Any]) -> str:
    if done["rotated"] == "credential":
        return f"credential {done['credential']}: every guard that sends it has what its source holds"
    return f"{done['rotated']}: every hop runs the new one ({done['seconds']:.1f} s)"


def _value(name: str, state: Path, edge: str | None) -> str | None:
    """The secret itself, where the policy keeps it in an environment: this command's is the newer one."""
    try:
        running = running_policy(state, edge)
    except MeshwardError:
        return None  # an instance elsewhere: it says what it needs
    credential = running[1].credentials.get(name) if running else None
    if credential is None or credential.source != "env" or credential.name is None:
        return None
    if not (value := os.environ.get(credential.name, "")):
        raise _usage(f"${credential.name} is empty or not set: it is where `{name}` is kept")
    return value


def _seconds(text: str) -> int:
    try:
        return parse_duration(text)
    except Unreadable as error:
        raise _usage(f"--overlap: {error.cause}") from None


def _usage(message: str) -> MeshwardError:
    return MeshwardError("MW0906", message, "See `meshward rotate --help`.", exit_code=Exit.USAGE)
