"""How many connections one address may hold, whatever it sends on them."""

from __future__ import annotations

import socket
import ssl
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from edge_harness import running

from meshward.testing.waiting import eventually

_SAID = {
    "nothing": b"",
    "a piece of a first message": b"\x16\x03\x01",
    "no TLS": b"GET / HTTP/1.1\r\n",
}


@pytest.mark.parametrize("said", _SAID.values(), ids=_SAID)
def test_connections_of_one_address_are_bounded_before_any_handshake(said: bytes) -> None:
    most, opened = 20, 60
    with running(held_per_address=most) as edge, ExitStack() as stack:
        other = stack.enter_context(edge.client())
        of_one = [
            stack.enter_context(socket.create_connection(("127.0.0.1", edge.port), 10, ("127.0.0.2", 0)))
            for _ in range(opened)
        ]
        for each in of_one:
            with suppress(OSError):  # it may be shut already
                each.sendall(said)
        eventually(lambda: len(_shut(of_one)) == opened - most, what="the bound")
        assert other.request("GET", "/m/minilm/a").status == 200
        with edge.client(source="127.0.0.3") as third:
            assert third.request("GET", "/m/minilm/a").status == 200


def _shut(connections: list[socket.socket]) -> list[socket.socket]:
    return [each for each in connections if _is_shut(each)]


def _is_shut(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        return connection.recv(65536) == b""
    except (BlockingIOError, ssl.SSLWantReadError):
        return False
    except OSError:
        return True
    finally:
        connection.settimeout(10)


def test_connections_within_the_bound_stay() -> None:
    with running(held_per_address=20) as edge, ExitStack() as stack:
        of_one = [stack.enter_context(edge.client()) for _ in range(20)]
        excess = [stack.enter_context(edge.client(source="127.0.0.2")) for _ in range(21)]
        sockets = [each.socket for each in excess]
        eventually(lambda: len(_shut(sockets)) == 1, what="a look at all of them")
        assert {each.request("GET", "/m/minilm/a").status for each in of_one} == {200}


def test_closed_descriptors_hide_none_behind_them() -> None:
    """Whoever closes many connections leaves a gap between the descriptors of those that he keeps."""
    most = 20
    with running(held_per_address=most) as edge, ExitStack() as stack:

        def kept() -> list[socket.socket]:
            clients = [stack.enter_context(edge.client(source="127.0.0.2")) for _ in range(most)]
            assert {each.request("GET", "/m/minilm/a").status for each in clients} == {200}
            return [each.socket for each in clients]

        def is_open() -> int:
            return sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in edge.workers())

        where = ("127.0.0.1", edge.port)
        gap = [
            stack.enter_context(socket.create_connection(where, 10, (f"127.0.1.{number}", 0)))
            for number in range(2, 77)
            for _ in range(most)
        ]
        eventually(lambda: is_open() > len(gap), what="all of them are accepted")
        of_one = kept()
        for each in gap:
            each.close()
        eventually(lambda: is_open() < 200, what="the gap")
        of_one += kept()
        eventually(lambda: len(_shut(of_one)) == most, what="the bound")
