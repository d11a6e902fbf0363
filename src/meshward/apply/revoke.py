"""Refusing somebody from now on, whatever the policy says: first durably, then at the edge, then at the guards.

The edge refuses their next request, and ends the answers that they are getting (`targets/nginx/lua/endings.lua`).
Where STATE cannot be written, who is to be refused is refused all the same, and it is said that a restart forgets it;
but nobody is let in again who a restart would refuse.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import structlog

from meshward.apply.changes import INSTANCE
from meshward.apply.mesh import Mesh
from meshward.apply.revocation_store import KINDS, Revocation, Revocations, load_revocations
from meshward.apply.unsettled import Unsettled
from meshward.callers.bindings import misread
from meshward.callers.revocations import FILE, Revoked
from meshward.kit import codes
from meshward.kit.clock import system_clock
from meshward.kit.errors import MeshwardError, run_all
from meshward.kit.text import quoted
from meshward.plan.ir import Plan
from meshward.runtime.supervise.handle import hop_error

POLL, RETRY = 5.0, 30.0  # seconds between two looks at whose revocation has ended; after one that failed
LONG = 300.0  # seconds to wait for one's turn with what holds at the edge meanwhile

log = structlog.get_logger(__name__)


def current_revocations(mesh: Mesh) -> Revocations:
    """What is revoked now."""
    return mesh.running.revocations.standing(system_clock())


def revoke(mesh: Mesh, change: Callable[[Revocations], Revocations], author: str) -> Revocations:
    """Refuse more, or fewer, subjects, tokens and agents.

    Raises MeshwardError (exit 5): MW3074 where it holds and is not kept, MW3075 where nothing changed because it cannot
    be kept; or naming a hop that did not take it, while what the others took stays, and it is tried again.
    """
    with _ahead(mesh, change) as patience, mesh.turn(patience):
        before = current_revocations(mesh)
        now = _changed(mesh, change)
        faults = [_keep(mesh, now, opens=_opens(before, now)), _try_give(mesh)]
        mesh.note(author, "revoke", digest=now.digest)
        if said := [fault for fault in faults if fault is not None]:
            _unsettle(mesh, said)
            raise _told_error(*faults)
        return now


def _changed(mesh: Mesh, change: Callable[[Revocations], Revocations]) -> Revocations:
    return change(current_revocations(mesh)).spread(mesh.live.plan).standing(system_clock())


@contextmanager
def _ahead(mesh: Mesh, change: Callable[[Revocations], Revocations]) -> Iterator[float | None]:
    """While another change has the turn, refuse at the edge, at once: it may be waiting for a guard that is silent.

    Yields how long to wait for the turn, if longer than others. Where that does not come, what holds is what held.
    Raises MeshwardError.
    """
    if not mesh.is_taken or _opens(current_revocations(mesh), now := _changed(mesh, change)):
        yield None
        return
    mesh.require_running()
    mesh.changes.require_still()
    try:
        with mesh.going_ahead(now.revoked):
            _give_edge(mesh)
            yield LONG
    except MeshwardError:
        _give_edge(mesh)
        raise


def _give_edge(mesh: Mesh) -> None:
    """What cannot be given is said when it is given to all."""
    try:
        mesh.switcher().revoke(mesh.revoked)
    except (MeshwardError, OSError) as error:
        log.warning("not_ahead", why=str(error))


def _keep(mesh: Mesh, now: Revocations, *, opens: bool) -> MeshwardError | None:
    """Into STATE; what is to be said where that cannot be. Raises MeshwardError where nothing was changed."""
    try:
        mesh.keep(now)
    except OSError as error:
        why = f"`STATE/{FILE}` cannot be written: {error.strerror}"
        if opens:
            raise MeshwardError(codes.REVOCATION_NOT_ENDED, f"nothing was changed, because {why}") from None
        mesh.swap(replace(mesh.running, revocations=now, unkept=True))
        return MeshwardError(codes.REVOCATION_NOT_KEPT, why)
    return None


def _told_error(unkept: MeshwardError | None, refused: MeshwardError | None) -> MeshwardError:
    """What whoever revoked must know: whether it holds, and whether it is kept."""
    if refused is None and unkept is not None:
        return MeshwardError(
            unkept.code, f"it holds at every hop from now on, but is not kept: {unkept.message}"
        )
    if refused is not None and unkept is not None:
        message = f"it does not hold at every hop, and is not kept: {refused.message}; {unkept.message}"
        return MeshwardError(refused.code, message, refused.remedy, exit_code=refused.exit_code)
    if refused is None:
        raise RuntimeError("nothing was wrong")
    return refused


def _opens(before: Revocations, now: Revocations) -> bool:
    """Whether somebody is refused no more, or less long."""
    return any(
        _end(before.of(kind)[name]) > _end(now.of(kind).get(name, _ENDED))
        for kind in KINDS
        for name in before.of(kind)
    )


_ENDED = Revocation(until=0)


def _end(revocation: Revocation) -> float:
    return float("inf") if revocation.until is None else revocation.until


def _try_give(mesh: Mesh) -> MeshwardError | None:
    """To every hop whatever became of another: who is refused by one is refused. What is to be said, if anything."""
    try:
        _give(mesh)
    except MeshwardError as error:
        return error
    except OSError as error:
        return hop_error("this machine", f"a file cannot be written: {error}")
    return None


def _give(mesh: Mesh) -> None:
    """Raises MeshwardError, OSError."""
    run_all([lambda: mesh.switcher().revoke(mesh.revoked), lambda: _give_guards(mesh)])


def _give_guards(mesh: Mesh) -> None:
    live, issue = mesh.live, mesh.issue()
    changed = mesh.guards.changed_digests(live, live.guards(), issue)
    files = {guard: mesh.guards.render(live, guard, issue) for guard in changed}
    # Whoever refuses is asked again, and nobody waits for it: no reason to end what runs there.
    mesh.guards.switch_all(files, mesh.supervisor, believing=True)


def _unsettle(mesh: Mesh, faults: list[MeshwardError]) -> None:
    """It is tried again by itself (`settle`). What was unsettled before stays so."""
    running = mesh.running
    why = "; ".join(fault.message for fault in faults)
    means = (
        running.unsettled.means
        if running.unsettled
        else "Who is revoked is not yet refused by each hop for good"
    )
    mesh.unsettle(Unsettled(time.time(), why, means), running.way_back)


def coming_back(before: Plan, after: Plan, revoked: Revoked) -> list[str]:
    """Who was revoked and would be known by another subject, which nobody revoked: in sentences."""
    sentence = "{} was revoked, and comes back under what another profile takes for a subject"
    return [sentence.format(quoted(name)) for name in misread(before, after, revoked.subjects)]


def require_read_alike(before: Plan, after: Plan, revoked: Revoked) -> None:
    """At a start, where nobody can be asked for leave. Raises MeshwardError (MW3025)."""
    if said := coming_back(before, after, revoked):
        remedy = (
            "Start without POLICY: the accepted revision runs. Revoke the other subject there (`--unknown`), and apply "
            "the policy with `--allow widening`."
        )
        raise MeshwardError(codes.WIDENS_ACCESS, f"this policy widens access: {'; '.join(said)}", remedy)


def keep_known(mesh: Mesh, *, must: bool = False) -> None:
    """Write the list again where it lacks what this instance knows, or is gone. Inside the turn.

    Raises OSError if it `must`; else it is tried again by itself.
    """
    if not mesh.running.unkept and _is_kept(mesh):
        return
    try:
        mesh.keep(current_revocations(mesh))
    except OSError as error:
        if must:
            raise
        _unsettle(
            mesh,
            [MeshwardError(codes.REVOCATION_NOT_KEPT, f"`STATE/{FILE}` cannot be written: {error.strerror}")],
        )


def _is_kept(mesh: Mesh) -> bool:
    try:
        return load_revocations(mesh.machine.state.path).digest == mesh.running.revocations.digest
    except MeshwardError:
        return False


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
    """The edge counts by itself; guards know no time. STATE says so last, so that a guard is told until it knows.

    Raises OSError, MeshwardError.
    """
    if mesh.running.revocations == current_revocations(mesh):
        return
    with mesh.turn():
        now = current_revocations(mesh)
        if _opens(now, mesh.running.revocations):
            _refuse_again(mesh, now)
        else:
            _give(mesh)
            mesh.keep(now)
        mesh.note(INSTANCE, "revoke", digest=now.digest)


def _refuse_again(mesh: Mesh, now: Revocations) -> None:
    """The clock by which they had ended was put right. Raises OSError, MeshwardError; then it is tried again."""
    mesh.keep(now)
    if (fault := _try_give(mesh)) is not None:
        _unsettle(mesh, [fault])
        raise fault
