"""This machine: which addresses are its own."""

from __future__ import annotations

import socket

from meshward.policy.values import Address


def is_ours(address: Address) -> bool:
    """Whether this machine has `address`: to no other can a socket be bound."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((str(address), 0))
    except OSError:
        return False
    return True
