"""Plain HTTP over a unix socket: to the processes of this machine."""

from __future__ import annotations

import httpx2

_TIMEOUT = 2.0  # seconds


def local_client(socket: str) -> httpx2.Client:
    """A client of whoever listens on `socket`. There is no TLS here, so no certificates are loaded (25 ms)."""
    transport = httpx2.HTTPTransport(uds=socket, verify=False)
    return httpx2.Client(transport=transport, base_url="http://local", timeout=_TIMEOUT, trust_env=False)
