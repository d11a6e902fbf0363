"""This machine: plain HTTP over a unix socket to its processes, and which addresses are its own."""

from __future__ import annotations

import socket

import httpx2

from meshward.policy.values import Address

_TIMEOUT = 2.0  # seconds


def local_client(path: str) -> httpx2.Client:
    """A client of whoever listens on `path`. There is no TLS here, so no certificates are loaded (25 ms)."""
    transport = httpx2.HTTPTransport(uds=path, verify=False)
    return httpx2.Client(transport=transport, base_url="http://local", timeout=_TIMEOUT, trust_env=False)


def is_ours(address: Address) -> bool:
    """Whether this machine has `address`: to no other can a socket be bound."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((str(address), 0))
    except OSError:
        return False
    return True
