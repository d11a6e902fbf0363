"""meshward svid: the certificate with which a workload meets the edge."""

from __future__ import annotations

import os
import stat
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.text import Text

from meshward.apply.report import ROOTS
from meshward.cli.options import DEFAULT_STATE, Json, State
from meshward.cli.output import fail, print_json, run_verb, stderr, stdout
from meshward.instance.running_policy import load_running_place, require_running_plan
from meshward.kit import codes
from meshward.kit.durable import write_atomic
from meshward.kit.errors import MeshwardError
from meshward.kit.exits import Exit
from meshward.kit.statefile import damage_error, read_plain
from meshward.plan.placement import RemoteGuard
from meshward.policy.grammar import Unreadable, parse_duration
from meshward.runtime.place import directories
from meshward.spiffe.ca import WORKLOAD_MOST, Authority, LeafCredential, load
from meshward.spiffe.ca_store import CaStore
from meshward.spiffe.ids import SpiffeId, parse

LONGEST = WORKLOAD_MOST
_SHORTEST = timedelta(seconds=30)
_RETRY = 30.0  # seconds


def command(
    name: Annotated[
        str,
        Parameter(
            help="A workload of the running policy, or MODEL/VERSION: its guard, where the site has it elsewhere."
        ),
    ],
    /,
    *,
    out: Annotated[Path, Parameter(help="The directory for svid.pem, key.pem, chain.pem and bundle.pem.")],
    ttl: Annotated[str, Parameter(help="How long it is valid: 30s to 24h.")] = "1h",
    renew: Annotated[bool, Parameter(negative="", help="Stay, and issue anew at half of its life.")] = False,
    state: State = DEFAULT_STATE,
    json: Json = False,
) -> None:
    """Issue NAME's SVID from the instance's own authority; each file is 0600 and replaced by a rename.

    Only the instance's owner can: whoever holds the key is the workload. Run it again, or with --renew, before it
    ends; clients read the new files at their next connection. `svid.pem` holds key and chain in one file, so a reader
    never sees a key without its certificate; `bundle.pem` is what to trust the edge by.
    """

    def run() -> Exit:
        life = _life(ttl)
        credential = _issue(name, out, life, state)
        _say(name, credential, out, as_json=json)
        while renew:
            time.sleep(life.total_seconds() / 2)
            credential = _renew(name, out, life, state, credential)
            _say(name, credential, out, as_json=json)
        return Exit.OK

    run_verb(run, as_json=json)


def _issue(name: str, out: Path, life: timedelta, state: Path) -> LeafCredential:
    _require_owner(state)
    is_guard = "/" in name
    spiffe_id, dns_name = _guard_identity(name, state) if is_guard else (_spiffe_id(name, state), None)
    authority = load(state / "ca", spiffe_id.trust_domain)
    credential = authority.issue(spiffe_id, dns_name, datetime.now(UTC), life)
    directory = _directory(out)
    CaStore(state / "ca", spiffe_id.trust_domain).note_workload(authority.root, credential)
    # A guard is called by SVIDs alone, whoever vouches for the edge's name to clients.
    _write(directory, credential, authority.root_pem if is_guard else _roots(state, authority))
    return credential


def _renew(name: str, out: Path, life: timedelta, state: Path, last: LeafCredential) -> LeafCredential:
    """A new one. What is only out of order for now is tried again as long as the `last` one is valid."""
    while True:
        try:
            return _issue(name, out, life, state)
        except (OSError, MeshwardError) as error:
            fault = error if isinstance(error, MeshwardError) else _unwritable_error(out, error)
            left = (last.not_after - datetime.now(UTC)).total_seconds()
            if fault.exit_code == Exit.USAGE or left <= 0:
                raise fault from None
            fail(fault)
            time.sleep(min(_RETRY, max(left, 0.0)))


def _require_owner(state: Path) -> None:
    try:
        owner = state.stat().st_uid
    except FileNotFoundError:
        raise MeshwardError(
            codes.NO_INSTANCE,
            f"there is no instance in `{state}`",
        ) from None
    if owner != os.geteuid():
        raise MeshwardError(
            codes.OWNER_ALONE_ISSUES,
            f"`{state}` belongs to uid {owner}, and only its owner may issue SVIDs (you are uid {os.geteuid()})",
        )


def _guard_identity(name: str, state: Path) -> tuple[SpiffeId, str]:
    """SPIFFE ID and DNS name of the guard of `<model>/<version>` that the site which runs has on another machine."""
    placed = load_running_place(directories.State(state))
    away = placed.elsewhere() if placed else {}
    guards = sorted(key for key, where in away.items() if isinstance(where, RemoteGuard))
    if placed is None or name not in guards:
        raise MeshwardError(
            codes.WORKLOAD_UNKNOWN,
            f"the site that runs has no guard `{name}` on another machine",
            f"Guards elsewhere: {', '.join(guards) or 'none'}.",
        )
    model, _, version = name.partition("/")
    identity = SpiffeId(placed.plan.trust_domain, f"/model/{model}")
    return identity, placed.plan.version(model, version).dns_name


def _spiffe_id(name: str, state: Path) -> SpiffeId:
    """What the running policy calls `name`. A part of meshward itself never is a workload."""
    plan = require_running_plan(directories.State(state))
    if name not in plan.workloads:
        raise MeshwardError(
            codes.WORKLOAD_UNKNOWN,
            f"the running policy has no workload `{name}`",
            f"Workloads: {', '.join(sorted(plan.workloads)) or 'none'}.",
        )
    spiffe_id = parse(plan.workloads[name])
    if spiffe_id.is_reserved:
        raise MeshwardError(
            codes.OWN_IDENTITY,
            f"`{spiffe_id}` is a part of meshward",
        )
    return spiffe_id


def _life(ttl: str) -> timedelta:
    try:
        life = timedelta(seconds=parse_duration(ttl))
    except Unreadable as error:
        raise _usage_error(f"--ttl: {error.cause}") from None
    if not _SHORTEST <= life <= LONGEST:
        raise _usage_error(f"--ttl {ttl} is not between 30s and 24h")
    return life


def _directory(path: Path) -> Path:
    """`path`, made 0700 or found: a directory of ours into which nobody else can write."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = path.lstat()
    except OSError as error:
        raise _unwritable_error(path, error) from None
    private = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o022
    if not private:
        raise MeshwardError(
            codes.DIRECTORY_NOT_YOURS,
            f"`{path}` is no directory of yours, or others can write into it",
        )
    return path


def _roots(state: Path, authority: Authority) -> str:
    """What the edge is to be verified by: a server certificate from files may be of another authority."""
    file = state / ROOTS
    try:
        return read_plain(file).decode() if file.exists() else authority.root_pem
    except ValueError as error:
        raise damage_error(
            file, str(error), "Start the instance again, `meshward up`: it is written anew."
        ) from None


def _write(directory: Path, credential: LeafCredential, roots: str) -> None:
    """The bundle first: who has the new certificate can already verify the edge."""
    write_atomic(directory / "bundle.pem", roots)
    write_atomic(directory / "svid.pem", credential.key_and_chain().reveal())
    write_atomic(directory / "key.pem", credential.key.reveal())
    write_atomic(directory / "chain.pem", credential.chain)


def _say(name: str, credential: LeafCredential, out: Path, *, as_json: bool) -> None:
    files = {what: str(out / f"{what}.pem") for what in ("svid", "key", "chain", "bundle")}
    end = credential.not_after.isoformat().replace("+00:00", "Z")
    if as_json:
        print_json(
            {"ok": True, "workload": name, "serial": credential.serial, "not_after": end, "files": files}
        )
        return
    stdout().print(Text(f"{name}: serial {credential.serial}, valid until {end}, in {out}"))
    stderr().print(Text(f"  curl --cert {files['svid']} --cacert {files['bundle']} ...", style="dim"))


def _unwritable_error(path: Path, error: OSError) -> MeshwardError:
    return MeshwardError(codes.SVID_NOT_WRITTEN, f"`{path}` cannot be written ({error.strerror})")


def _usage_error(message: str) -> MeshwardError:
    return MeshwardError(codes.SVID_USAGE, message)
