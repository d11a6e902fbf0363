"""Refusing somebody from now on, whatever the policy says: first durably, then at the edge, then at the guards."""

from __future__ import annotations

from collections.abc import Callable

from meshward.apply.mesh import Mesh
from meshward.apply.revocations import load_revocations, save_revocations
from meshward.edge.revoked import Revoked
from meshward.kit.clock import system_clock


def revoked(mesh: Mesh) -> Revoked:
    """What is revoked now. Raises MeshwardError."""
    return load_revocations(mesh.machine.state.path).standing(system_clock())


def revoke(mesh: Mesh, change: Callable[[Revoked], Revoked], author: str) -> Revoked:
    """Refuse more, or fewer, subjects and tokens.

    Raises MeshwardError (exit 5) naming a hop that did not take it: what the others took stays.
    """
    with mesh.turn():
        now = change(revoked(mesh)).standing(system_clock())
        save_revocations(mesh.machine.state.path, now)
        mesh.switcher().revoke(now)
        standing, issue = mesh.standing, mesh.issue()
        for guard in mesh.guards.changed(standing, standing.guards(), issue):
            mesh.guards.switch(guard, mesh.guards.render(standing, guard, issue), mesh.parts)
        mesh.note(author, "revoke", digest=now.digest)
        return now
