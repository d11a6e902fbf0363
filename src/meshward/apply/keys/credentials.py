"""Exchanging the keys that guards send to their servers, while all goes on.

At a start and at an apply a key that cannot be had is a refusal. Later, whatever becomes of its source, the guards go
on with the one they have, and `status` says so.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass

import structlog

from meshward.apply.changes import INSTANCE
from meshward.apply.credentials.keyring import HeldKey, sent_key_name
from meshward.apply.credentials.secrets import DIRECTORY
from meshward.apply.live_revision import Guard
from meshward.apply.mesh import Mesh
from meshward.apply.report import save_instance_anew
from meshward.kit import codes
from meshward.kit.errors import MeshwardError
from meshward.kit.secret import Secret
from meshward.kit.text import quoted
from meshward.plan.ir import Credential, Plan
from meshward.policy.servers import GENERATED
from meshward.targets.envoy.wire import CREDENTIAL

POLL = 2.0  # seconds between two looks at files
REACH_EVERY = 30.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Exchanged:
    """`guards` send the credential `name` as its source has it. `changed`: they sent another before."""

    name: str
    changed: bool
    guards: tuple[str, ...]


def rotate_credential(mesh: Mesh, name: str, value: Secret | None, author: str) -> Exchanged:
    """Have every guard that sends `name` send what its source holds now, or `value` (of an environment variable).

    Returns when each of them was seen to have it. Raises MeshwardError: MW3060 where it cannot be had, MW3061 where it
    cannot be changed this way, or exit 5 for a guard that did not take it: then all send the older one.
    """
    with mesh.turn():
        kept = _require_rotatable(mesh.live.plan, name, value)
        return _exchange(mesh, name, kept, mesh.guards.keyring.read(name, kept, value), author)


async def watch_credentials(mesh: Mesh) -> None:
    """Take new contents of files within seconds, and new answers of commands every quarter of an hour."""
    mesh.guards.keyring.save()  # in place of what another instance wrote
    judged = time.monotonic()
    while True:
        await asyncio.sleep(POLL)
        try:
            await asyncio.to_thread(look_after, mesh)
            if time.monotonic() - judged > REACH_EVERY:
                judged = time.monotonic()
                await asyncio.to_thread(judge_reach, mesh)
        except (MeshwardError, OSError) as error:
            log.error("credentials_not_watched", why=str(error))


def look_after(mesh: Mesh) -> None:
    """One look at every source whose time has come. Raises MeshwardError where another change takes too long."""
    keyring, wanted = mesh.guards.keyring, _secrets_in_use(mesh.live.plan)
    if not any(keyring.is_due(kept) for kept in wanted) and not keyring.all_but(wanted):
        return
    with mesh.turn():
        wanted = _secrets_in_use(mesh.live.plan)
        keyring.forget_all_but(wanted)
        for kept, name in wanted.items():
            if keyring.is_due(kept):
                _renew(mesh, name, kept)


def judge_reach(mesh: Mesh) -> None:
    """A server may have been started, or changed, since: whether it demands its key, who may open its socket.

    Raises OSError.
    """
    with mesh.turn():
        save_instance_anew(mesh.machine, mesh.live)


def _renew(mesh: Mesh, name: str, kept: Credential) -> None:
    try:
        _exchange(mesh, name, kept, mesh.guards.keyring.read(name, kept), INSTANCE)
    except MeshwardError as error:  # it cannot be had, or a guard did not take it
        mesh.guards.keyring.note_failure(kept, error.message)
        log.error("credential_not_renewed", name=name, why=error.message)


def _exchange(mesh: Mesh, name: str, kept: Credential, after: HeldKey, author: str) -> Exchanged:
    before = mesh.guards.keyring.hold(name, kept)
    guards = _hand_out(mesh, name, kept, before, after)
    changed = before.secret != after.secret
    if changed:
        mesh.note(author, "rotate", what="credential", name=name, guards=", ".join(guards))
    return Exchanged(name, changed, tuple(guards))


def _hand_out(mesh: Mesh, name: str, kept: Credential, before: HeldKey, after: HeldKey) -> list[str]:
    """To each guard that sends it, by rename, until it is seen to have it; or back, everywhere."""
    plan = mesh.live.plan
    guards = [guard for guard in mesh.live.guards() if plan.secret_of(*guard[0].split("/")) == kept]
    mesh.guards.keyring.keep(name, kept, after)
    try:
        _bring_key(mesh, guards)
    except (MeshwardError, OSError):
        mesh.guards.keyring.keep(name, kept, before)
        with suppress(MeshwardError, OSError):
            _bring_key(mesh, guards)
        raise
    return [key for key, _ in guards]


def _bring_key(mesh: Mesh, guards: list[Guard]) -> None:
    """To each of `guards`, the key that is kept for it now."""
    issue = mesh.issue()
    for guard in guards:
        files = mesh.guards.render(mesh.live, guard, issue)
        if not mesh.guards.runs(guard, {CREDENTIAL: files.versions[CREDENTIAL]}):
            mesh.guards.hand(guard, files, (CREDENTIAL,), mesh.supervisor)


def _secrets_in_use(plan: Plan) -> dict[Credential, str]:
    """Every key that a guard sends, by where it is kept, and what people call it."""
    keys = [f"{model.name}/{version.name}" for model in plan.models.values() for version in model.versions]
    found = {key: kept for key in keys if (kept := plan.secret_of(*key.split("/"))) is not None}
    return {kept: sent_key_name(plan, key) for key, kept in found.items()}


def _require_rotatable(plan: Plan, name: str, value: Secret | None) -> Credential:
    if name == GENERATED:
        raise _credential_error(
            "a generated key is its server's as well",
            f"Write a new one to the file under STATE/{DIRECTORY}, and restart the server with it: "
            "the guard takes it within seconds.",
        )
    if name not in plan.credentials:
        known = ", ".join(sorted(plan.credentials)) or "none"
        raise _credential_error(
            f"there is no credential {quoted(name)}", f"The policy that runs has: {known}."
        )
    kept = plan.credentials[name]
    if kept not in _secrets_in_use(plan):
        raise _credential_error(f"no version sends the credential `{name}`", "There is nothing to do.")
    if (kept.source == "env") == (value is None):
        raise _misplaced_error(name, kept)
    return kept


def _misplaced_error(name: str, kept: Credential) -> MeshwardError:
    """A value where the source has its own, or none where only a person has one."""
    if kept.source == "env":
        return _credential_error(
            f"`{name}` comes from the environment of `meshward up`, which cannot change while it runs",
            f"Give the new value; and start with it in `{kept.place[0]}` the next time.",
        )
    return _credential_error(
        f"`{name}` comes from a {kept.source}, so no value can be given",
        f"Change what `{kept.place[0]}` holds.",
    )


def _credential_error(message: str, remedy: str) -> MeshwardError:
    return MeshwardError(codes.CREDENTIAL_NOT_ROTATED, message, remedy)
