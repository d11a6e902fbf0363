"""A client that only shakes hands, in a process of its own: python -m bench.knock PORT.

Each line is a number of seconds, in which it opens and closes one TLS connection after the other; it answers with how
many those were. They come from many addresses, so that no limit per address is met.
"""

from __future__ import annotations

import itertools
import socket
import sys
import time

from bench.load import unverified

_TLS = unverified()


def knock(port: int, source: str) -> None:
    """One connection: both sides have finished their handshake when it is closed."""
    with socket.create_connection(("127.0.0.1", port), 10, (source, 0)) as plain, _TLS.wrap_socket(plain):
        pass


def main(port: int) -> None:
    sources = itertools.cycle(f"127.1.0.{number}" for number in range(1, 201))
    knock(port, next(sources))
    print("warm", flush=True)
    for line in sys.stdin:
        until, number = time.monotonic() + float(line), 0
        while time.monotonic() < until:
            knock(port, next(sources))
            number += 1
        print(number, flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
