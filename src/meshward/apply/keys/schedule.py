"""Keys and certificates are replaced by themselves, long before they end; one that comes from files, as they change.

Pauses are monotonic, and the wall clock is asked anew each time: a clock that jumps makes something due at once, or
not yet, and no more.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import structlog

from meshward.apply.changes import INSTANCE
from meshward.apply.edge_certificate import from_files
from meshward.apply.hop_files import WEB, edge_certificates
from meshward.apply.keys.inventory import (
    EDGE_CERTIFICATE,
    RETIRED_KEYS,
    ROOT,
    SIGNING_KEY,
    forget_failures,
    known_failures,
    list_due,
    save_failure,
    take_inventory,
    told_failure,
)
from meshward.apply.keys.rotate import Rotation, drop_retired, rotate
from meshward.apply.mesh import Mesh
from meshward.kit.errors import MeshwardError

POLL = 2.0  # seconds between two looks at a certificate's files
SETTLED = 0.5  # seconds that files must stand still: a chain may be written certificate by certificate
CHECK = 30.0  # seconds between two looks at everything's age; also the pause after a failure
JUMP = 5.0  # seconds by which the wall clock jumps before that is a reason to look at once

_TAKES_A_PERSON = (SIGNING_KEY, ROOT)
"""Where a version has no guard here: the hop there must know the new one before it is used."""

log = structlog.get_logger(__name__)


async def keep_current(mesh: Mesh) -> None:
    """Replace what is due until cancelled. A failure is logged, kept for `status`, and tried again."""
    forget_failures(mesh.machine.state.path)
    checked, clock = float("-inf"), _clock()
    while True:
        await asyncio.to_thread(_try_step, take_files, mesh)
        jumped = abs(_clock() - clock) > JUMP
        if jumped or time.monotonic() - checked >= CHECK:
            checked, clock = time.monotonic(), _clock()
            await asyncio.to_thread(_try_step, replace_due, mesh)
        await asyncio.sleep(POLL)


def _clock() -> float:
    """How far the wall clock is ahead of the one that never jumps."""
    return time.time() - time.monotonic()


def _try_step(step: Callable[[Mesh], None], mesh: Mesh) -> None:
    """A fault in one step must end neither the others nor the renewal of certificates."""
    try:
        step(mesh)
    except Exception as error:
        log.error("schedule_fault", type=type(error).__name__, why=str(error))


def replace_due(mesh: Mesh) -> None:
    """Everything that is due now, one after the other; a failure of one is none of the others."""
    machine, live = mesh.machine, mesh.live
    inventory = take_inventory(machine.state.path, machine.run, live.plan, live.slots)
    for what in list_due(inventory, time.time()):
        if not (live.elsewhere and what in _TAKES_A_PERSON):
            _replace(mesh, what)


def _replace(mesh: Mesh, what: str) -> None:
    try:
        if what == RETIRED_KEYS:
            drop_retired(mesh)
        else:
            seconds = rotate(mesh, Rotation(what, INSTANCE, "its time had come"), lambda _: None)
            log.info("rotated", what=what, seconds=round(seconds, 3))
    except (MeshwardError, OSError) as error:
        log.error("not_rotated", what=what, why=str(error))


def take_files(mesh: Mesh) -> None:
    """A server certificate from files is served as soon as they hold another one that will do.

    When they turn bad, and when they are good again, is said and noted once each. What nginx did not take is tried
    again with all else that is due, not at every look: other changes wait for that.
    """
    edge = mesh.live.plan.edge
    if edge.certificate_path is None:
        return
    path = Path(edge.certificate_path)
    try:
        found = from_files(path, edge.hostname, datetime.now(UTC))
        if differs := found.reveal() != _served(mesh):
            time.sleep(SETTLED)
            settled = from_files(path, edge.hostname, datetime.now(UTC)) == found
    except MeshwardError as error:
        _note_bad(mesh, error)
        return
    _note_good(mesh)
    if not differs:
        save_failure(mesh.machine.state.path, EDGE_CERTIFICATE, None)
    elif settled and EDGE_CERTIFICATE not in known_failures(mesh.machine.state.path):
        _replace(mesh, EDGE_CERTIFICATE)


def _served(mesh: Mesh) -> str | None:
    """None: what nginx is shown cannot be read, and is to be written anew."""
    try:
        return edge_certificates(mesh.machine.run)[WEB].read_text()
    except (OSError, ValueError):
        return None


def _note_bad(mesh: Mesh, error: MeshwardError) -> None:
    state, why = mesh.machine.state.path, told_failure(error)
    known = known_failures(state).get(EDGE_CERTIFICATE)
    if known is None or known.why != why:
        log.error("certificate_files_refused", code=error.code.number, why=error.message, remedy=error.remedy)
        save_failure(state, EDGE_CERTIFICATE, why)
    if known is None or not known.of_files:
        mesh.note(INSTANCE, "certificate", came="unfit", code=error.code.number, why=error.message)


def _note_good(mesh: Mesh) -> None:
    state = mesh.machine.state.path
    known = known_failures(state).get(EDGE_CERTIFICATE)
    if known is not None and known.of_files:
        save_failure(state, EDGE_CERTIFICATE, None)
        mesh.note(INSTANCE, "certificate", came="fit")
