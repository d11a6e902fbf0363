"""Guards elsewhere whose machine has another address by now: the edge follows their names.

Not the policy changes by it, nor its site, so there is no revision: the decision service is told, and the epoch raised.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace

import structlog

from meshward.apply.changes import INSTANCE
from meshward.apply.decision_hop import DecisionHop
from meshward.apply.mesh import Mesh
from meshward.apply.places import Resolve, resolve_host, resolve_places
from meshward.kit.errors import MeshwardError
from meshward.targets.nginx.wire import Far

EVERY = 30.0  # seconds

log = structlog.get_logger(__name__)


async def watch_addresses(mesh: Mesh) -> None:
    """Until cancelled."""
    while True:
        await asyncio.sleep(EVERY)
        if any(isinstance(place, Far) for place in mesh.live.elsewhere.values()):
            try:
                await asyncio.to_thread(follow_addresses, mesh)
            except (MeshwardError, OSError) as error:  # a hop that does not answer now is told again
                log.error("addresses_not_followed", why=str(error))


def follow_addresses(mesh: Mesh, resolve: Resolve = resolve_host) -> None:
    """Look every name up once. One that leads nowhere just now leads where it did. Raises MeshwardError, OSError."""
    seen = mesh.live
    found = dict(seen.elsewhere)
    for key in seen.elsewhere:
        with suppress(MeshwardError):
            found |= resolve_places(seen.placed, seen.elsewhere, resolve, only=key)
    if found == seen.elsewhere:
        return
    with mesh.turn():
        running = mesh.running
        if running.live.revision != seen.revision or running.live.elsewhere != seen.elsewhere:
            return
        live = replace(running.live, elsewhere=found)
        DecisionHop(mesh.machine, mesh.ahead).switch(live, None, mesh.supervisor)
        mesh.swap(replace(running, live=live))
        for key in sorted(key for key in found if found[key] != seen.elsewhere[key]):
            mesh.note(INSTANCE, "address", version=key, now=str(found[key]))
