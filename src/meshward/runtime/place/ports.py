"""Are the ports free that we are about to need, and if not, who has them?"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from meshward.kit import codes
from meshward.kit.errors import MeshwardError
from meshward.kit.text import one_line

_LISTENING = "0A"  # st column of /proc/net/tcp (Linux, Documentation/networking/proc_net_tcp.rst)


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that listens on a port. Its command's name only: arguments may hold secrets."""

    pid: int
    command: str


def require_free(addresses: Iterable[tuple[str, int]]) -> None:
    """Raise MeshwardError for the first (address, port) that cannot be bound, naming who holds it."""
    wanted = list(addresses)
    for host, port in wanted:
        if wanted.count((host, port)) > 1:
            raise MeshwardError(codes.PORT_TWICE, f"port {port} on {host} is wanted twice")
        try:
            _try_bind(host, port)
        except OSError as error:
            raise _port_error(host, port, error) from error


def holders(port: int) -> list[Holder]:
    """Who listens on TCP `port`, as far as this user may see."""
    inodes = {f"socket:[{inode}]" for inode in _listening_inodes(port)}
    return [Holder(pid, command) for pid, command in _processes_with(inodes)] if inodes else []


def command_of(pid: int) -> str:
    """Its own name for itself, which may be any bytes. Raises OSError."""
    return one_line(Path(f"/proc/{pid}/comm").read_bytes().decode(errors="replace").strip())


def _try_bind(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # TIME_WAIT is no conflict
        probe.bind((host, port))


def _port_error(host: str, port: int, error: OSError) -> MeshwardError:
    if error.errno == errno.EADDRINUSE:
        names = ", ".join(f"`{holder.command}` (pid {holder.pid})" for holder in holders(port))
        return MeshwardError(
            codes.PORT_IN_USE,
            f"port {port} on {host} is in use by {names or 'a process of another user'}",
        )
    return MeshwardError(codes.PORT_UNUSABLE, f"port {port} on {host} cannot be used: {error.strerror}")


def _listening_inodes(port: int) -> Iterator[str]:
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        if not table.exists():
            continue
        for line in table.read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == _LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                yield fields[9]


def _processes_with(links: set[str]) -> Iterator[tuple[int, str]]:
    for process in sorted(Path("/proc").glob("[0-9]*"), key=lambda path: int(path.name)):
        try:
            if any(str(link.readlink()) in links for link in (process / "fd").iterdir()):
                yield int(process.name), command_of(int(process.name))
        except OSError:  # ended meanwhile, or another user's
            continue
