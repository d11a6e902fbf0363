"""The service as a process: a unix socket of its own making, uvicorn, and SIGHUP to read everything again."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog
import uvicorn
import uvloop

from meshward.callers.trust import Trust
from meshward.edge.decision_state import DecisionState, load
from meshward.edge.heartbeat import Heartbeat
from meshward.edge.service import DecisionService
from meshward.kit import codes
from meshward.kit.errors import MeshwardError
from meshward.kit.log import log_to

SOCKET = "decide.sock"
_BACKLOG = 1024
_RELOAD = {signal.SIGHUP}
_KEEP_ALIVE = (
    3600  # seconds; nginx closes idle connections, not we, so none is closed while a request is on its way
)

log = structlog.get_logger("meshward.edge")


def serve(directory: Path, heartbeat: Path | None, gid: int | None, at: Path | None = None) -> None:
    """Serve by RUN/given/decide (`directory`) until SIGTERM or SIGINT. Raises MeshwardError if it cannot start."""
    log_to(sys.stderr)
    signal.pthread_sigmask(signal.SIG_BLOCK, _RELOAD)  # kept until there is a handler for it
    state = load(directory)
    with listen_at(at or directory / SOCKET, gid) as listener:
        uvloop.run(_serve(directory, state, Heartbeat(heartbeat), listener))


@contextmanager
def listen_at(path: Path, gid: int | None) -> Iterator[socket.socket]:
    """A socket at `path`, mode 0660: made beside it and renamed, so what is there always answers.

    Its group is `gid`, else what the directory's setgid bit says. What was at `path` before is replaced.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    beside = path.parent / f".{secrets.token_hex(4)}"
    before = os.umask(0o117)
    try:
        listener.bind(str(beside))
        if gid is not None:
            os.chown(beside, -1, gid)
        listener.listen(_BACKLOG)
        beside.rename(path)
    finally:
        os.umask(before)
        beside.unlink(missing_ok=True)
    with listener:
        yield listener


async def _serve(
    directory: Path, state: DecisionState, heartbeat: Heartbeat, listener: socket.socket
) -> None:
    trust = Trust(()).succeeded_by(state.issuers, state.kept)
    service = DecisionService(state, trust, heartbeat)
    reloader = Reloader(directory, service)
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reloader.ask)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _RELOAD)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))  # uvicorn raises it once more when it has ended
    await uvicorn.Server(behind_nginx(service)).serve(sockets=[listener])


def behind_nginx(app: Callable[..., Awaitable[None]]) -> uvicorn.Config:
    """For an application that nginx alone asks, which tells it in headers of its own what is to be known."""
    return uvicorn.Config(
        app,
        http="httptools",
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=2,
    )


class Reloader:
    """Reads the directory again when asked, one at a time. Broken input changes nothing and is said."""

    def __init__(self, directory: Path, service: DecisionService) -> None:
        self._directory = directory
        self._service = service
        self._asked = False
        self._task: asyncio.Task[None] | None = None

    def ask(self) -> None:
        """Signal handler. Asked during a reload, there will be another after it."""
        self._asked = True
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._reload())

    async def _reload(self) -> None:
        while self._asked:
            self._asked = False
            try:
                state = await asyncio.to_thread(load, self._directory)
            except MeshwardError as error:
                self._refuse(error)
            except Exception as error:
                self._refuse(
                    MeshwardError(codes.DECISION_FILES_UNUSABLE, f"{type(error).__name__} while reading", "")
                )
            else:
                self._service.adopt(state, self._service.trust.succeeded_by(state.issuers, state.kept))
                log.info("reloaded", revision=state.live.revision, policy=state.plan.digest)

    def _refuse(self, error: MeshwardError) -> None:
        self._service.refuse(error)
        log.error("reload refused", code=error.code.number, message=error.message, remedy=error.remedy)
