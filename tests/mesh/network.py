"""A network of the lab's own: pods have addresses as in a cluster, and two labs on one machine never meet.

`scripts/mesh.sh` makes a network namespace, and runs this module there: its loopback device is raised, and every
address of PODS becomes one that the namespace itself has.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import socket
import struct
from collections.abc import Iterator
from ipaddress import IPv4Network

PODS = IPv4Network("10.244.0.0/16")
SERVICES = IPv4Network("10.96.0.0/16")
EDGES = IPv4Network("127.0.2.0/24")  # where an edge's own sidecar listens for it alone
OWN = "MESHWARD_MESH_NETWORK"  # set by scripts/mesh.sh, inside

_SIOCGIFFLAGS, _SIOCSIFFLAGS, _UP = 0x8913, 0x8914, 1
_NEWROUTE, _ACK_CREATE_REPLACE, _DST, _OIF = 24, 0x1 | 0x4 | 0x100 | 0x400, 1, 4
_TABLE_LOCAL, _PROTO_BOOT, _SCOPE_HOST, _TYPE_LOCAL = 255, 3, 254, 2


def is_own() -> bool:
    """Whether we run in a namespace that was made for us."""
    return bool(os.environ.get(OWN))


def raise_loopback() -> None:
    """Raise `lo` and give it all of PODS. Raises OSError where we may not."""
    with socket.socket() as any_socket:
        asked = struct.pack("16sH14x", b"lo", 0)
        (flags,) = struct.unpack_from("H", fcntl.ioctl(any_socket, _SIOCGIFFLAGS, asked), 16)
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | _UP))
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as netlink:
        netlink.send(_local_route(PODS, socket.if_nametoindex("lo")))
        (error,) = struct.unpack_from("i", netlink.recv(4096), 16)
    if error:
        raise OSError(-error, f"no route to {PODS}: {os.strerror(-error)}")


def addresses() -> Iterator[str]:
    """Addresses for pods, each once."""
    return map(str, itertools.islice(PODS.hosts(), 256, None))


def _local_route(network: IPv4Network, device: int) -> bytes:
    """`ip route replace local NETWORK dev DEVICE`, as rtnetlink takes it."""
    route = struct.pack(
        "BBBBBBBBI",
        socket.AF_INET, network.prefixlen, 0, 0, _TABLE_LOCAL, _PROTO_BOOT, _SCOPE_HOST, _TYPE_LOCAL, 0,
    )  # fmt: skip
    attributes = struct.pack("HH4sHHI", 8, _DST, network.network_address.packed, 8, _OIF, device)
    body = route + attributes
    return struct.pack("IHHII", 16 + len(body), _NEWROUTE, _ACK_CREATE_REPLACE, 1, 0) + body


if __name__ == "__main__":
    raise_loopback()
