"""How the demo's two servers meet the world: a loopback port or a Unix socket, one process, a clean end."""

from __future__ import annotations

import ipaddress
import os
import signal
import socket
import sys
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from meshward.kit import codes
from meshward.kit.errors import MeshwardError


def bind_loopback(host: str, port: int) -> socket.socket:
    """A TCP socket on a 127.0.0.0/8 address; port 0 takes a free one. Raises MeshwardError for any other."""
    try:
        loopback = ipaddress.IPv4Address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise MeshwardError(
            codes.DEMO_NOT_LOOPBACK,
            f"`{host}` is not a loopback address, and the demo's servers are not for production",
        )
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        raise _in_use_error(f"{host}:{port}", error) from None
    return bound


def bind_unix(path: Path) -> socket.socket:
    """A Unix socket with mode 0660 at `path`. What a dead server left there is removed; a live one is not."""
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o117)
    try:
        if path.is_socket() and not _answers(path):
            path.unlink()
        bound.bind(str(path))
    except OSError as error:
        bound.close()
        raise _in_use_error(str(path), error) from None
    finally:
        os.umask(before)
    return bound


def serve(app: ASGIApp, bound: socket.socket) -> None:
    """Answer on `bound` until SIGTERM or SIGINT, finish what was begun, leave no socket file behind."""
    signal.signal(
        signal.SIGTERM, lambda *_: sys.exit(0)
    )  # uvicorn raises its signal again when it has drained
    signal.signal(signal.SIGINT, lambda *_: sys.exit(0))
    address = bound.getsockname()  # a Unix socket's is its path
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=5,
    )
    try:
        uvicorn.Server(config).run([bound])
    finally:
        if isinstance(address, str):
            Path(address).unlink(missing_ok=True)


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        return probe.connect_ex(str(path)) == 0


def _in_use_error(address: str, error: OSError) -> MeshwardError:
    return MeshwardError(
        codes.DEMO_CANNOT_LISTEN,
        f"cannot listen on `{address}`: {os.strerror(error.errno or 0)}",
    )
