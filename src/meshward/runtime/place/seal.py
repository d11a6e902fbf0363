"""A model server and its guard in a network of their own, whose only door is the guard's unix socket.

Run as a file, by any Python 3 and without meshward installed, as process 1 of new user, network, mount and
pid namespaces: brings `lo` up, starts both, passes signals on, reaps, and ends when either ends; then the
kernel ends all that is left inside. `unshare` ignores TERM: to stop gently, signal `inner_pid(its pid)`.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import socket
import struct
import sys
import time
from pathlib import Path
from types import FrameType

_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 0x1
NAMESPACES = (
    "unshare", "--map-root-user", "--net", "--pid", "--fork", "--kill-child", "--mount-proc",
)  # fmt: skip
_GRACE = 5.0  # seconds between TERM and the end of everything


def sealed_command(server_argv: list[str], guard_argv: list[str], python: str = sys.executable) -> list[str]:
    """The argument list that runs both sealed. Needs no root; the uid must reach `python` and this file."""
    inside = (python, "-I", "-S", __file__, str(len(server_argv)), *server_argv, *guard_argv)
    return [*NAMESPACES, *inside]


def inner_pid(unshare_pid: int) -> int | None:
    """Process 1 of the sealed pair, as seen from outside; None while there is none."""
    try:
        children = Path(f"/proc/{unshare_pid}/task/{unshare_pid}/children").read_text().split()
    except OSError:
        return None
    return int(children[0]) if children else None


def raise_loopback() -> None:
    """`ip link set lo up`, without iproute2. Raises OSError."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as anything:
        name = struct.pack("16sH14x", b"lo", 0)
        (flags,) = struct.unpack_from("H", fcntl.ioctl(anything, _SIOCGIFFLAGS, name), 16)
        fcntl.ioctl(anything, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | _IFF_UP))


def run(server_argv: list[str], guard_argv: list[str]) -> int:
    """Both, until one ends or a signal says so. 0 after TERM or INT, else 1: start the pair anew."""
    raise_loopback()
    told: list[int] = []
    children: list[int] = []

    def stop(number: int, _frame: FrameType | None) -> None:
        told.append(number)
        _tell(children, signal.SIGTERM)

    def pass_on(number: int, _frame: FrameType | None) -> None:
        _tell(children[1:], number)  # Envoy reopens its log on USR1

    # Before the children: process 1 gets no signal that it has no handler for.
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGUSR1, pass_on)
    for argv in (server_argv, guard_argv):
        children.append(_start(argv))
    if told:  # while they were being started
        _tell(children, signal.SIGTERM)
    ended = _wait_for(children)
    if not told:
        name = "model server" if ended == children[0] else "guard"
        print(f"meshward: the sealed {name} ended; ending its partner too", file=sys.stderr, flush=True)
    _tell(children, signal.SIGTERM)
    _drain(_GRACE)
    return 0 if told else 1


def _start(argv: list[str]) -> int:
    """Not by `subprocess`, which may itself bury a child that ends early. Raises OSError."""
    no_input = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)]
    defaults = [signal.SIGPIPE, signal.SIGXFSZ]  # Python ignores these two, and what it ignores is inherited
    return os.posix_spawnp(argv[0], argv, os.environ, file_actions=no_input, setsigdef=defaults)


def _tell(pids: list[int], number: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _wait_for(children: list[int]) -> int:
    """The first of `children` to end. Process 1 also buries orphans that it never started."""
    while True:
        pid, _status = os.wait()
        if pid in children:
            return pid


def _drain(seconds: float) -> None:
    end = time.monotonic() + seconds
    with contextlib.suppress(ChildProcessError):
        while time.monotonic() < end:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                time.sleep(0.02)


if __name__ == "__main__":
    _count = int(sys.argv[1])
    sys.exit(run(sys.argv[2 : 2 + _count], sys.argv[2 + _count :]))
