"""What could not be taken back, or given, everywhere is tried again by itself until every hop runs what it should.

Until then the edge permits only what both revisions permit. The pause between two tries grows to a minute. A start
needs none: it writes every hop anew, from the accepted revision, and notes that it ended what stood open.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

import structlog

from meshward.apply.changes import INSTANCE
from meshward.apply.mesh import Mesh
from meshward.apply.revoke import keep_known
from meshward.apply.switching import Rendering, Switch
from meshward.apply.transaction import named_back
from meshward.apply.unsettled import Unsettled, load_unsettled, save_unsettled
from meshward.kit.clock import Clock, system_clock
from meshward.kit.errors import MeshwardError

POLL = 1.0  # seconds between two looks at whether anything is to be tried again
_FIRST_PAUSE, _LONGEST_PAUSE = 2.0, 60.0  # seconds after a try that failed

log = structlog.get_logger(__name__)


async def settle_hops(mesh: Mesh) -> None:
    """Until cancelled."""
    while True:
        await asyncio.sleep(POLL)
        if mesh.running.unsettled is not None:
            await asyncio.to_thread(try_again, mesh)


def try_again(mesh: Mesh, clock: Clock = system_clock) -> None:
    """Where anything is unsettled and its time has come. Another change that is under way comes first."""
    unsettled = mesh.running.unsettled
    # Further away than any pause: the clock was set back, which delays nothing.
    if unsettled is None or 0 < unsettled.next_try - clock() <= _LONGEST_PAUSE:
        return
    try:
        with mesh.turn():
            _settle(mesh, clock)
    except MeshwardError as error:
        log.info("settling_waits", why=error.message)


def end_by_start(mesh: Mesh) -> None:
    """When every hop of a start is ready: what the last instance left is settled."""
    state, unsettled = mesh.machine.state.path, None
    with suppress(MeshwardError):  # it is for `status` alone
        unsettled = load_unsettled(state)
    save_unsettled(state, None)
    if unsettled is not None:
        _note(mesh, unsettled, "a start")


def _settle(mesh: Mesh, clock: Clock) -> None:
    """Inside the turn."""
    running = mesh.running
    if running.unsettled is None:
        return
    tries, lacking = running.unsettled.tries + 1, list(_lacking(mesh))
    if lacking:
        pause = min(_FIRST_PAUSE * 2 ** min(tries - 1, 10), _LONGEST_PAUSE)
        why, at = "; ".join(lacking), clock() + pause
        log.warning("not_settled", tries=tries, why=why)
        mesh.unsettle(replace(running.unsettled, why=why, tries=tries, next_try=at), running.way_back)
        return
    mesh.unsettle(None)
    _note(mesh, replace(running.unsettled, tries=tries), "trying again")


def _lacking(mesh: Mesh) -> Iterator[str]:
    """Do all that is open; what could not be done, in sentences."""
    with _telling(said := list[str]()):
        keep_known(mesh, must=True)
    yield from said
    switcher, switch = mesh.switcher(), None
    with _telling(said := list[str]()):
        switch = _way_back(mesh)
    yield from said
    if switch is not None:
        yield from (*named_back(mesh, switch), *switcher.back(switch))
    with _telling(said := list[str]()):
        switcher.revoke(mesh.revoked)
    yield from said


@contextmanager
def _telling(said: list[str]) -> Iterator[None]:
    try:
        yield
    except (MeshwardError, OSError) as error:
        said.append(str(error))


def _way_back(mesh: Mesh) -> Switch:
    """To what runs now, rendered anew: keys and revocations are others by now. Raises MeshwardError, OSError."""
    running, issue = mesh.running, mesh.issue()
    live, before = running.live, running.way_back
    guards = set(mesh.guards.changed_digests(live, live.guards(), issue))
    guards |= set(before.old.files).intersection(live.guards()) if before else set()
    files = {guard: mesh.guards.render(live, guard, issue) for guard in sorted(guards)}
    old = Rendering(live, running.settings, files, issue.revoked)
    if before is None:
        return Switch(old, replace(old, files={}), {}, ())
    new = before.new if before.old.live.revision == live.revision else replace(before.new, files={})
    taken = {*live.slots.values(), *mesh.drains.slots()}
    starts = {guard: each for guard, each in before.starts.items() if guard[1] not in taken}
    return Switch(old, new, starts, ())


def _note(mesh: Mesh, unsettled: Unsettled, by: str) -> None:
    mesh.note(
        INSTANCE,
        "settle",
        by=by,
        tries=str(unsettled.tries),
        since=f"{unsettled.since:.0f}",
        why=unsettled.why,
    )
