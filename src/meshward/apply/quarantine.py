"""A guard that misbehaves costs itself, and nothing else: it may be broken into.

It puts into its own directory what does not belong there: a link beside its log is how it would have us read another
file. It fills the disk from there. Or it runs and does not answer what it runs (`Guards`): no change waits for it, and
it must not wake up with rules of before. So:

1. The collector is told, and goes on: what it cannot read there is nobody's record any more.
2. The directory is taken from it: the edge reaches its socket no more.
3. Its process ends, and whatever else runs as its user.
4. It is written down, with what was found; `status` names it.

Its files are still written (they lie where it cannot), so that applies, renewals and rotations go on, and the next
`apply` or start lets it back in: with its directory cleared, and by the rules of now.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from functools import partial

import structlog

from meshward.apply.changes import INSTANCE
from meshward.apply.live_revision import Guard
from meshward.apply.mesh import Mesh
from meshward.audit.quarantine import Shut, save_quarantine
from meshward.kit.errors import MeshwardError
from meshward.kit.foreign import close_to_others, make_room
from meshward.runtime.machine import guard_name
from meshward.runtime.supervise.strays import end_strays_of

POLL = 0.5  # seconds between two looks

log = structlog.get_logger(__name__)


async def watch_hops(mesh: Mesh) -> None:
    """Shut away every guard whose directory is not in order, or who does not answer a change, until cancelled."""
    mesh.guards.shut_away = partial(shut_away, mesh)
    while True:
        await asyncio.to_thread(look_around, mesh)
        await asyncio.sleep(POLL)


def look_around(mesh: Mesh) -> None:
    """Once, at each guard that runs."""
    for guard, why in _odd_guards(mesh):
        shut_away(mesh, guard, why)


def _odd_guards(mesh: Mesh) -> Iterator[tuple[Guard, str]]:
    for guard in mesh.guards.standing():
        try:
            found = mesh.guards.faults(guard)
        except OSError as error:
            log.error("directory_not_seen", guard=guard[0], why=str(error))
            continue
        if found:
            yield guard, "; ".join(found[:3])


def shut_away(mesh: Mesh, guard: Guard, why: str) -> None:
    """The steps above. Each is tried, whatever becomes of the others."""
    machine, name = mesh.machine, guard_name(*guard)
    shut = mesh.guards.shut[guard] = Shut(f"the guard of {guard[0]}", why, time.time())
    steps: tuple[Callable[[], object], ...] = (
        lambda: _write_down(mesh),  # 1
        lambda: close_to_others(machine.run.guard_dir(guard[1])),  # 2
        lambda: mesh.supervisor.shut(name, f"was shut away: {why}"),  # 3
        lambda: end_strays_of([machine.known[name].uid]),
        lambda: mesh.note(INSTANCE, "quarantine", hop=name, why=why),  # 4
    )
    for step in steps:
        try:
            step()
        except (MeshwardError, OSError) as error:
            log.error("not_shut_away", hop=name, why=str(error))
    log.error("quarantined", code=shut.error.code.number, hop=name, why=why)


def let_back(mesh: Mesh) -> list[str]:
    """Start every guard again that is shut away. Take the turn first. Returns what became of each, in sentences."""
    return [
        str(_let_back(mesh, guard) or f"the guard of {guard[0]} is let back in")
        for guard in tuple(mesh.guards.shut)
    ]


def _let_back(mesh: Mesh, guard: Guard) -> MeshwardError | OSError | None:
    shut = mesh.guards.shut[guard]
    try:
        make_room(mesh.machine.run.guard_dir(guard[1]))  # what was not read by now
        mesh.guards.restart(guard, mesh.supervisor)
        mesh.guards.shut.pop(guard, None)
        _write_down(mesh)
        mesh.note(INSTANCE, "let back", hop=guard_name(*guard))
    except (MeshwardError, OSError) as error:
        shut_away(mesh, guard, shut.why)
        return error
    return None


def _write_down(mesh: Mesh) -> None:
    hops = {f"guards/{slot:02d}": shut for (_, slot), shut in mesh.guards.shut.items()}
    save_quarantine(mesh.machine.run.control_dir, hops)
