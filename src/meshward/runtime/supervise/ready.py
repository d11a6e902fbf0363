"""Ready checks: cheap questions that a part answers only when it really serves."""

from __future__ import annotations

import asyncio
import socket
import ssl
from pathlib import Path

from meshward.runtime.supervise.process import Ready

_BEGIN, _END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
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


def tls_accepts(host: str, port: int, certificates: Path) -> Ready:
    """Whoever listens there shows a certificate of the directory's `web.*.pem`: it is ours, not another's listener."""

    async def ask() -> bool:
        context = _unverified_context()
        try:
            async with asyncio.timeout(_TIMEOUT):
                _, writer = await asyncio.open_connection(host, port, ssl=context)
                shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
                writer.close()
            return shown in {leaf_of(file.read_text()) for file in certificates.glob("web.*.pem")}
        except (OSError, TimeoutError, ValueError):
            return False

    return ask


def shown_leaf(host: str, port: int) -> bytes | None:
    """The certificate (DER) that the listener shows. Raises OSError."""
    with (
        socket.create_connection((host, port), _TIMEOUT) as plain,
        _unverified_context().wrap_socket(plain) as tls,
    ):
        return tls.getpeercert(binary_form=True)


def leaf_of(pem: str) -> bytes:
    """The first certificate of a PEM text, which may hold a key too, as DER. Raises ValueError."""
    begin = pem.index(_BEGIN)
    return ssl.PEM_cert_to_DER_cert(pem[begin : pem.index(_END, begin) + len(_END)])


def _unverified_context() -> ssl.SSLContext:
    """The certificate itself is compared: it may be of any authority, or have ended."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


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
