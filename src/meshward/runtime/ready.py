"""Ready checks: cheap questions that a part answers only when it really serves."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

from meshward.runtime.process import Ready

_TIMEOUT = 1.0  # seconds for one question


def file_exists(path: Path) -> Ready:
    async def ask() -> bool:
        return path.exists()

    return ask


def socket_accepts(path: Path) -> Ready:
    """Somebody accepts on the unix socket; that its file exists proves nothing (it outlives a kill -9)."""

    async def ask() -> bool:
        return await _answers(None, path=path)

    return ask


def tls_accepts(host: str, port: int, root: Path) -> Ready:
    """Whoever listens there has a certificate under the PEM file `root`: it is ours, and not another's listener."""

    async def ask() -> bool:
        try:
            context = ssl.create_default_context(cafile=root)
            context.check_hostname = False  # the address is asked, not a name
            async with asyncio.timeout(_TIMEOUT):
                _, writer = await asyncio.open_connection(host, port, ssl=context)
                writer.close()
        except (OSError, TimeoutError):
            return False
        return True

    return ask


def http_ok(target: str, *, path: Path | None = None, host: str = "127.0.0.1", port: int = 0) -> Ready:
    """`GET target` is answered with 200, over the unix socket `path` or else over `host`:`port`."""
    name = "localhost" if path else f"{host}:{port}"
    request = f"GET {target} HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode()

    async def ask() -> bool:
        return await _answers(request, path=path, host=host, port=port)

    return ask


async def _answers(request: bytes | None, *, path: Path | None = None, host: str = "", port: int = 0) -> bool:
    try:
        async with asyncio.timeout(_TIMEOUT):
            opening = asyncio.open_unix_connection(path) if path else asyncio.open_connection(host, port)
            reader, writer = await opening
            try:
                return request is None or await _is_200(request, reader, writer)
            finally:
                writer.close()
    except (OSError, TimeoutError, ValueError):  # ValueError: an endless first line
        return False


async def _is_200(request: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    writer.write(request)
    status_line = (await reader.readline()).split(b" ")
    return len(status_line) > 1 and status_line[1] == b"200"
