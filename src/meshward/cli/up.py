"""meshward up: run everything on this machine, in the foreground."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.text import Text

from meshward.apply.follow.watch import Watched, watch_path
from meshward.apply.sited import admit_at
from meshward.apply.sources import read_policy, read_site
from meshward.cli.asking import running_site
from meshward.cli.options import DEFAULT_STATE, RunSitePath, State
from meshward.cli.output import print_problems, run_verb, stderr, stdout
from meshward.control.unix import user_name
from meshward.demo.stage import EDGE_PORT, IDP_PORT, demo_extras, demo_policy, require_demo_packages
from meshward.instance.up import Starting
from meshward.instance.up import up as run_up
from meshward.kit import codes
from meshward.kit.durable import write_atomic
from meshward.kit.errors import MeshwardError
from meshward.kit.exits import Exit
from meshward.policy.schema import Policy
from meshward.policy.site import Site, SiteDocument
from meshward.runtime.place import directories
from meshward.runtime.place.directories import Run, open_state, run_path
from meshward.runtime.place.instance_file import Instance
from meshward.runtime.place.reachable import can_seal


def command(
    policy: Annotated[Path | None, Parameter(help="A policy file or directory.")] = None,
    /,
    *,
    demo: Annotated[
        bool, Parameter(negative="", help="With a real model and a demo identity provider.")
    ] = False,
    tour: Annotated[bool, Parameter(negative="", help="With --demo: run the tour, then stop.")] = False,
    watch: Annotated[
        bool, Parameter(negative="", help="Follow POLICY: apply what it says whenever it changes.")
    ] = False,
    accept_revocations: Annotated[
        bool,
        Parameter(
            negative="",
            help="Start though the list of the revoked is gone or not the last one: take what is there.",
        ),
    ] = False,
    site: RunSitePath = None,
    edge_port: Annotated[int, Parameter(help="With --demo: the edge's port.")] = EDGE_PORT,
    idp_port: Annotated[int, Parameter(help="With --demo: the identity provider's port.")] = IDP_PORT,
    allow_root_parts: Annotated[
        bool,
        Parameter(negative="", help="As root: let parts that cannot have a user of their own run as root."),
    ] = False,
    state: State = DEFAULT_STATE,
) -> None:
    """Run edge, guards, decision service and collector on this machine until Ctrl-C.

    Refuses, by name, what the policy asks for and this release does not enforce. Without POLICY, the revision that
    was accepted last in this state directory runs again.
    """

    def run() -> Exit:
        if demo and policy is not None:
            raise _usage_error("give a POLICY or --demo, not both")
        if demo and site is not None:
            raise _usage_error("the demo runs on one machine, and takes no --site")
        if tour and not demo:
            raise _usage_error("--tour walks the demo's promises: it goes with --demo")
        if demo:
            more = {"root_parts": allow_root_parts, "accept_revocations": accept_revocations}
            return _demo(state, edge_port, idp_port, tour=tour, **more)
        if policy is None and not state.is_dir():
            raise _usage_error("give a POLICY, or --demo")
        if watch and policy is None:
            raise _usage_error("--watch follows a POLICY: give one")
        watched = watch_path(policy, _progress) if watch and policy is not None else None
        given = None if site is None else read_site(site)
        accepted = None if policy is None else _read_admitted(policy, given or running_site(state), watched)
        starting = Starting(
            accepted,
            _author(),
            watched=watched,
            site=None if given is None else given.site,
            root_parts=allow_root_parts,
            accept_revocations=accept_revocations,
        )
        run_up(starting, state, _say_ready, _progress)
        return Exit.OK

    run_verb(run)


def _demo(
    state: Path, edge_port: int, idp_port: int, *, tour: bool, root_parts: bool, accept_revocations: bool
) -> Exit:
    require_demo_packages()
    opened, sealed = open_state(state), can_seal()
    if not sealed:
        _progress("warning: this machine gives its users no namespaces of their own: minilm/v2 is not sealed")
    file = directories.own_directory(opened.path / "demo") / "policy.yaml"
    write_atomic(file, demo_policy(Run(run_path(opened)), edge_port, idp_port, sealed=sealed))
    guide: list[subprocess.Popen[bytes]] = []

    def ready(instance: Instance) -> None:
        _say_ready(instance)
        if tour:
            guide.append(_start_tour(state))
        else:
            _say_what_to_try(instance, state)

    starting = Starting(
        _read_admitted(file),
        _author(),
        lambda run: demo_extras(opened.path, run, idp_port, sealed=sealed),
        root_parts=root_parts,
        accept_revocations=accept_revocations,
    )
    run_up(starting, state, ready, _progress)
    return Exit(guide[0].wait()) if guide else Exit.OK


def _start_tour(state: Path) -> subprocess.Popen[bytes]:
    """The tour as a process of its own; when it ends, so does the demo. The shell would also do `down`."""
    script = '"$0" -m meshward tour --state "$1"; code=$?; kill -TERM "$2"; exit $code'
    return subprocess.Popen(["/bin/sh", "-c", script, sys.executable, str(state), str(os.getpid())])


def _read_admitted(
    path: Path, site: SiteDocument | Site | None = None, watched: Watched | None = None
) -> Policy:
    """The policy at `path`, or as it is `watched`, if it is valid and all of it can be enforced here."""
    found = watched.read(_progress) if watched else None
    document = found.document if found else read_policy(path)
    print_problems(admit_at(document, site, int(time.time())).findings)
    return document.policy


def _author() -> str:
    return user_name(os.getuid())


def _say_ready(instance: Instance) -> None:
    console = stdout()
    console.print(Text(f"ready: {instance.edge_url} (revision {instance.revision})", style="bold green"))
    console.print(f"  trust the edge with the root certificate {instance.root_certificate}")
    for guard in instance.guards:
        console.print(f"  {guard.model}/{guard.version}: {instance.edge_url}/m/{guard.model}")
        console.print(f"    server {guard.sentence}")
    for each, where in instance.elsewhere.items():
        console.print(f"  {each}: {instance.edge_url}/m/{each.partition('/')[0]}")
        console.print(f"    at {where}", markup=False)
    sys.stdout.flush()


def _say_what_to_try(instance: Instance, state: Path) -> None:
    python = os.path.relpath(sys.executable)
    meshward = os.path.relpath(Path(sys.executable).with_name("meshward"))
    option = "" if state == DEFAULT_STATE else f" --state {state}"
    root, edge = os.path.relpath(instance.root_certificate), instance.edge_url
    token = f"{python} -m meshward.demo.token {{}}{option}"
    body = """-H 'Content-Type: application/json' -d '{"inputs":"hello"}'"""
    post = f"curl -sS --cacert {root} {edge}/m/minilm/embed {body}"
    lines = [
        f"  identity provider: {instance.idp_url} (for this demo only, not for production)",
        "  accounts: alice (group data-science), bob (group sales), carol (group ml-platform)",
        "",
        "Paste in another terminal, in this directory:",
        "",
        f"  export ALICE=$({token.format('alice')}) BOB=$({token.format('bob')})",
        f"""  {post} -H "Authorization: Bearer $ALICE" -D headers.txt | cut -c1-80""",
        f"""  {post} -H "Authorization: Bearer $BOB" """,
        f"""  {meshward} trace{option} $(sed -n 's/^x-request-id: *//ip' headers.txt | tr -d '\\r')""",
        f"  {meshward} tour{option}",
        "",
        "Ctrl-C stops everything.",
    ]
    stdout().print("\n".join(lines), markup=False)
    sys.stdout.flush()


def _progress(line: str) -> None:
    """Nobody may listen any more: what serves goes on (of a broken pipe, rich makes an end of the process)."""
    with suppress(OSError, SystemExit):
        stderr().print(Text(f"... {line}", style="dim"))


def _usage_error(message: str) -> MeshwardError:
    return MeshwardError(codes.UP_USAGE, message)
