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
    forget_failures,
    known_failures,
    list_due,
    save_failure,
    take_inventory,
)
from meshward.apply.keys.rotate import Rotation, drop_retired, rotate
from meshward.apply.mesh import Mesh
from meshward.kit.errors import MeshwardError

POLL = 2.0  # seconds between two looks at a certificate's files
SETTLED = 0.5  # seconds that files must stand still: a chain may be written certificate by certificate
CHECK = 30.0  # seconds between two looks at everything's age; also the pause after a failure
JUMP = 5.0  # seconds by which the wall clock jumps before that is a reason to look at once

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
    """A server certificate from files is served as soon as they hold another one that will do."""
    edge = mesh.live.plan.edge
    if edge.certificate_path is None:
        return
    state = mesh.machine.state.path
    try:
        found = from_files(Path(edge.certificate_path), edge.hostname, datetime.now(UTC))
    except MeshwardError as error:
        known = known_failures(state).get(EDGE_CERTIFICATE)
        if known is None or known.why != error.message:
            log.error("certificate_files_refused", why=error.message)
            save_failure(state, EDGE_CERTIFICATE, error.message)
        return
    if found.reveal() == edge_certificates(mesh.machine.run)[WEB].read_text():
        save_failure(state, EDGE_CERTIFICATE, None)
        return
    time.sleep(SETTLED)
    if from_files(Path(edge.certificate_path), edge.hostname, datetime.now(UTC)) == found:
        _replace(mesh, EDGE_CERTIFICATE)
