"""meshward rotate: replace a key or a certificate at every hop, while requests run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter
from rich.text import Text

from meshward.apply.keys.inventory import OLD_ROOT, ROOT
from meshward.cli.asking import ask_instance, running_policy
from meshward.cli.options import DEFAULT_STATE, Json, RemoteEdge, State
from meshward.cli.output import print_json, run_verb, stdout
from meshward.control.verbs.rotate import ROTATE, CredentialRotated, Rotated
from meshward.kit import codes
from meshward.kit.errors import MeshwardError
from meshward.kit.exits import Exit
from meshward.policy.grammar import Unreadable, parse_duration

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
        bool,
        Parameter(
            negative="",
            help="With --finish: though workloads' SVIDs below it are alive. With --root: though a guard on another "
            "machine does not know the new one.",
        ),
    ] = False,
    given: Annotated[
        str,
        Parameter(help="With `signing-key`: the next key's id, which hops of other machines were given."),
    ] = "",
    overlap: Annotated[
        str | None, Parameter(help="With --root: how long both roots are trusted, 65m or more (24h).")
    ] = None,
    reason: Annotated[str, Parameter(help="Why; kept in the records.")] = "",
    edge: RemoteEdge = None,
    state: State = DEFAULT_STATE,
    json: Json = False,
) -> None:
    """Replace keys or certificates at every hop, with no failed request; all of them also rotate by themselves.

    `svids`: those of all guards, and the edge's as their client. `ca`: the intermediate that issues, and then every
    leaf. `signing-key`: of Transaction Tokens. `edge-certificate`: the edge's server certificate, issued or from files.
    `credential NAME`: the key that guards send to servers, read anew from its source.

    Exits 0 when every hop was seen to run the new one, 4 where it would refuse somebody, 5 naming a hop that did not.
    """

    def run() -> Exit:
        _check(what, name, root=root, finish=finish, force=force)
        if given and what != "signing-key":
            raise _usage_error("--given goes with `signing-key`")
        if overlap is not None and (finish or not root):
            raise _usage_error("--overlap goes with --root, without --finish")
        request: dict[str, Any] = {"what": what, "root": root, "finish": finish, "force": force}
        request |= {"given": given} if given else {}
        request |= {"reason": reason, "overlap": None if overlap is None else _seconds(overlap)}
        if what == "credential":
            request |= {"name": name, "value": None if edge else _value(str(name), state)}
        done = ask_instance(state, ROTATE, request, edge)
        if json:
            print_json({"ok": True, **done.as_json()})
        else:
            stdout().print(Text(_line(done)))
        return Exit.OK

    run_verb(run, as_json=json)


def _check(what: str, name: str | None, *, root: bool, finish: bool, force: bool) -> None:
    if (what == "credential") != (name is not None):
        raise _usage_error("name the credential" if name is None else f"`{what}` takes no name")
    if root and what != "ca":
        raise _usage_error("--root goes with `ca`")
    if (finish or force) and not root:
        raise _usage_error("--finish and --force go with --root")


def _line(done: Rotated | CredentialRotated) -> str:
    if isinstance(done, CredentialRotated):
        return f"credential {done.credential}: every guard that sends it has what its source holds"
    seconds = f"({done.seconds:.1f} s)"
    if done.rotated == OLD_ROOT:
        return f"old root: no hop trusts it any more {seconds}"
    line = f"{done.rotated}: every hop runs the new one {seconds}"
    if done.rotated == ROOT:
        line += "; the old one is trusted until the overlap ends, or `--finish`: give clients `root.pem` until then"
    return line


def _value(name: str, state: Path) -> str | None:
    """The secret itself, where the policy keeps it in an environment: this command's is the newer one."""
    running = running_policy(state, None)
    credential = running[1].credentials.get(name) if running else None
    if credential is None or credential.source != "env" or credential.name is None:
        return None
    if not (value := os.environ.get(credential.name, "")):
        raise _usage_error(f"${credential.name} is empty or not set: it is where `{name}` is kept")
    return value


def _seconds(text: str) -> int:
    try:
        return parse_duration(text)
    except Unreadable as error:
        raise _usage_error(f"--overlap: {error.cause}") from None


def _usage_error(message: str) -> MeshwardError:
    return MeshwardError(codes.ROTATE_USAGE, message)
