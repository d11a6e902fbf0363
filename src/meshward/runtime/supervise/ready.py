"""Ready checks: cheap questions that a part answers only when it really serves."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

from meshward.kit.hop_socket import Asking, Listener, NoAnswer, require_listener, unverified_context
from meshward.runtime.supervise.process import Ready

_BEGIN, _END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
_TIMEOUT = 1.0  # seconds for one question


def file_exists(path: Path) -> Ready:
    async def ask() -> bool:
        return path.exists()

    return ask


def socket_accepts(path: Path, uid: int | None = None) -> Ready:
    """`uid` accepts on the unix socket; that its file exists proves nothing (it outlives a kill -9)."""

    async def ask() -> bool:
        return await _answers(None, Listener(path, uid))

    return ask


def tls_accepts(host: str, port: int, certificates: Path) -> Ready:
    """Whoever listens there shows a certificate of the directory's `web.*.pem`: it is ours, not another's listener."""

    async def ask() -> bool:
        context = unverified_context()
        try:
            async with asyncio.timeout(_TIMEOUT):
                _, writer = await asyncio.open_connection(host, port, ssl=context)
                shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
                writer.transport.abort()
            return shown in {leaf_of(file.read_text()) for file in certificates.glob("web.*.pem")}
        except (OSError, TimeoutError, ValueError):
            return False

    return ask


def shown_leaf(host: str, port: int) -> bytes:
    """The certificate (DER) that the listener shows. Raises NoAnswer."""
    return Asking(Listener(host=host, port=port, tls=True), _TIMEOUT).certificate()


def leaf_of(pem: str) -> bytes:
    """The first certificate of a PEM text, which may hold a key too, as DER. Raises ValueError."""
    begin = pem.index(_BEGIN)
    return ssl.PEM_cert_to_DER_cert(pem[begin : pem.index(_END, begin) + len(_END)])


def http_ok(target: str, listener: Listener) -> Ready:
    """`GET target` is answered with 200."""
    request = f"GET {target} HTTP/1.1\r\nHost: {listener.name}\r\nConnection: close\r\n\r\n".encode()

    async def ask() -> bool:
        return await _answers(request, listener)

    return ask


async def _answers(request: bytes | None, asked: Listener) -> bool:
    try:
        async with asyncio.timeout(_TIMEOUT):
            if asked.path:
                reader, writer = await asyncio.open_unix_connection(asked.path)
            else:
                reader, writer = await asyncio.open_connection(asked.host, asked.port)
            try:
                if asked.uid is not None:
                    require_listener(writer.get_extra_info("socket"), asked.uid)
                return request is None or await _is_200(request, reader, writer)
            finally:
                writer.transport.abort()
    except (NoAnswer, OSError, TimeoutError, ValueError):  # ValueError: an endless first line
        return False


async def _is_200(request: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    writer.write(request)
    status_line = (await reader.readline()).split(b" ")
    return len(status_line) > 1 and status_line[1] == b"200"
