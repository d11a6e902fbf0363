"""Keys and certificates are replaced by themselves, long before they end; one that comes from files, as they change.

Pauses are monotonic, and the wall clock is asked anew each time: a clock that jumps makes something due at once, or
not yet, and no more.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from pathlib import Path

import structlog

from meshward.apply.ages import (
    EDGE_CERTIFICATE,
    RETIRED_KEYS,
    due,
    forget_failures,
    load_failures,
    look,
    save_failure,
)
from meshward.apply.certificate import from_files
from meshward.apply.mesh import Mesh
from meshward.apply.renew import WEB, certificates
from meshward.apply.rotate import Rotation, drop_retired, rotate
from meshward.kit.errors import MeshwardError

OURSELVES = "meshward"
POLL = 2.0  # seconds between two looks at a certificate's files
SETTLED = 0.5  # seconds that files must stand still: a chain may be written certificate by certificate
CHECK = 30.0  # seconds between two looks at everything's age; also the pause after a failure

log = structlog.get_logger(__name__)


async def keep_current(mesh: Mesh) -> None:
    """Replace what is due until cancelled. A failure is logged, kept for `status`, and tried again."""
    forget_failures(mesh.machine.state.path)
    checked = float("-inf")
    while True:
        try:
            await asyncio.to_thread(take_files, mesh)
            if time.monotonic() - checked >= CHECK:
                checked = time.monotonic()
                await asyncio.to_thread(replace_due, mesh)
        except Exception as error:  # a fault here must not end the renewal of certificates
            log.error("schedule_fault", type=type(error).__name__, why=str(error))
        await asyncio.sleep(POLL)


def replace_due(mesh: Mesh) -> None:
    """Everything that is due now, one after the other; a failure of one is none of the others."""
    machine = mesh.machine
    sight = look(machine.state.path, machine.run, mesh.standing.plan)
    for what in due(sight, time.time()):
        _replace(mesh, what)


def _replace(mesh: Mesh, what: str) -> None:
    try:
        if what == RETIRED_KEYS:
            drop_retired(mesh)
        else:
            seconds = rotate(mesh, Rotation(what, OURSELVES, "its time had come"), lambda _: None)
            log.info("rotated", what=what, seconds=round(seconds, 3))
    except (MeshwardError, OSError) as error:
        log.error("not_rotated", what=what, why=str(error))


def take_files(mesh: Mesh) -> None:
    """A server certificate from files is served as soon as they hold another one that will do."""
    edge = mesh.standing.plan.edge
    if edge.certificate_path is None:
        return
    state = mesh.machine.state.path
    try:
        found = from_files(Path(edge.certificate_path), edge.hostname, datetime.now(UTC))
    except MeshwardError as error:
        known = load_failures(state).get(EDGE_CERTIFICATE)
        if known is None or known.why != error.message:
            log.error("certificate_files_refused", why=error.message)
            save_failure(state, EDGE_CERTIFICATE, error.message)
        return
    if found.reveal() == certificates(mesh.machine.run)[WEB].read_text():
        save_failure(state, EDGE_CERTIFICATE, None)
        return
    time.sleep(SETTLED)
    if from_files(Path(edge.certificate_path), edge.hostname, datetime.now(UTC)) == found:
        _replace(mesh, EDGE_CERTIFICATE)
