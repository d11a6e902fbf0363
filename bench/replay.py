"""The edge and the guard of many requests, as far as a collector can see them.

python -m bench.replay PAIRS EDGE_LOG GUARD_LOG RATE SECONDS: PAIRS is a file of real lines, the edge's and the guard's
of a request in turn. Each is written again under a new request id, as its proxy writes: nginx at once, Envoy
every 50 ms or 64 KiB. A rate of 0: all of SECONDS * 5000 requests at once. Prints how many.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
import time
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

FLUSH, BUFFER = 0.05, 1 << 16  # seconds, bytes: Envoy's
BACKLOG = 5000  # requests for each second


def pairs_of(edge: bytes, guard: bytes) -> list[tuple[bytes, bytes]]:
    """Both lines of each request that has both."""
    guards = {json.loads(line)["rid"]: line for line in guard.strip(b"\0").splitlines()}
    edges = [(json.loads(line)["rid"], line) for line in edge.strip(b"\0").splitlines()]
    return [(line, guards[rid]) for rid, line in edges if rid in guards]


def write_again(pairs: Path, edge: Path, guard: Path, rate: float, seconds: float) -> int:
    count = round((rate or BACKLOG) * seconds)
    lines = _renewed(pairs.read_bytes().splitlines())
    began, flushed, waiting = time.monotonic(), 0.0, bytearray()
    with edge.open("ab", buffering=0) as at_once, guard.open("ab", buffering=0) as buffered:
        for number in range(count):
            left, right = next(lines)
            at_once.write(left)
            waiting += right
            while True:
                passed = time.monotonic() - began
                if passed - flushed >= FLUSH or len(waiting) >= BUFFER or number == count - 1:
                    buffered.write(waiting)
                    waiting.clear()
                    flushed = passed
                early = number / rate - passed if rate else 0.0
                if early <= 0:
                    break
                time.sleep(min(early, FLUSH))
    return count


def _renewed(lines: list[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """The pairs over and over, each time another request at another time."""
    parts = [(line, json.loads(line)) for line in lines]
    for (edge, of_edge), (guard, of_guard) in cycle(zip(parts[::2], parts[1::2], strict=True)):
        rid, now = secrets.token_hex(16).encode(), b"%.3f" % time.time()
        yield _with(edge, of_edge, rid, now), _with(guard, of_guard, rid, now)


def _with(line: bytes, values: dict[str, str], rid: bytes, now: bytes) -> bytes:
    again = line.replace(values["rid"].encode(), rid).replace(values["t"].encode(), now)
    return again + b"\n"


if __name__ == "__main__":
    os.nice(5)
    pairs, edge, guard = map(Path, sys.argv[1:4])
    print(write_again(pairs, edge, guard, float(sys.argv[4]), float(sys.argv[5])))
