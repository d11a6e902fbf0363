"""Refusing somebody from now on, whatever the policy says: first durably, then at the edge, then at the guards.

The edge refuses their next request, and ends the answers that they are getting (`targets/nginx/lua/endings.lua`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from meshward.apply.changes import INSTANCE
from meshward.apply.mesh import Mesh
from meshward.apply.revocation_store import load_revocations, save_revocations
from meshward.callers.revocations import Revoked
from meshward.kit.clock import system_clock
from meshward.kit.errors import MeshwardError, run_all

POLL, RETRY = 5.0, 30.0  # seconds between two looks at whose revocation has ended; after one that failed

log = structlog.get_logger(__name__)


def current_revocations(mesh: Mesh) -> Revoked:
    """What is revoked now. Raises MeshwardError."""
    return load_revocations(mesh.machine.state.path).standing(system_clock())


def revoke(mesh: Mesh, change: Callable[[Revoked], Revoked], author: str) -> Revoked:
    """Refuse more, or fewer, subjects, tokens and agents.

    Raises MeshwardError (exit 5) naming a hop that did not take it: what the others took stays.
    """
    with mesh.turn():
        now = change(current_revocations(mesh)).standing(system_clock())
        save_revocations(mesh.machine.state.path, now)
        _give(mesh, now)
        mesh.note(author, "revoke", digest=now.digest)
        return now


def _give(mesh: Mesh, now: Revoked) -> None:
    """To the edge, and to the guards whatever became of that: who is refused by one hop is refused."""
    run_all([lambda: mesh.switcher().revoke(now), lambda: _give_guards(mesh)])


def _give_guards(mesh: Mesh) -> None:
    live, issue = mesh.live, mesh.issue()
    changed = mesh.guards.changed_digests(live, live.guards(), issue)
    files = {guard: mesh.guards.render(live, guard, issue) for guard in changed}
    mesh.guards.switch_all(files, mesh.supervisor)


async def end_revocations(mesh: Mesh) -> None:
    """Take back at every hop what holds no longer, until cancelled. A failure is logged, and tried again."""
    pause = POLL
    while True:
        await asyncio.sleep(pause)
        pause = POLL
        try:
            await asyncio.to_thread(take_back_ended, mesh)
        except (OSError, MeshwardError) as error:
            log.error("revocation_not_ended", why=str(error))
            pause = RETRY


def take_back_ended(mesh: Mesh) -> None:
    """The edge counts by itself; guards know no time. STATE forgets last, so that a guard is told until it knows.

    Raises OSError, MeshwardError.
    """
    state = mesh.machine.state.path
    if load_revocations(state) == current_revocations(mesh):
        return
    with mesh.turn():
        now = current_revocations(mesh)
        _give(mesh, now)
        save_revocations(state, now)
        mesh.note(INSTANCE, "revoke", digest=now.digest)
