"""Cold decisions per second of the service's CPU time: every request with a token that it has not seen.

python -m bench.decisions [--requests 4000] [--connections 8]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import time
from pathlib import Path

from tests.edge.mesh import Mesh, running

REQUEST = (
    "GET /decide HTTP/1.1\r\nHost: decide\r\nX-Mw-Authorization: Bearer {token}\r\nX-Mw-Method: POST\r\n"
    "X-Mw-Model: minilm\r\nX-Mw-Path: /embed\r\nX-Mw-Front: m\r\nX-Mw-Addr: 203.0.113.9\r\n\r\n"
)


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def drive(socket: Path, requests: list[bytes]) -> None:
    """One connection, one request after the other."""
    reader, writer = await asyncio.open_unix_connection(str(socket), limit=1 << 20)
    for request in requests:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
    writer.close()


async def load(socket: Path, requests: list[bytes], connections: int) -> float:
    started = time.perf_counter()
    await asyncio.gather(*(drive(socket, requests[n::connections]) for n in range(connections)))
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--requests", type=int, default=4000)
    parser.add_argument("--connections", type=int, default=8)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        mesh = Mesh(Path(name))
        mesh.write()
        tokens = [mesh.signer.token(groups=["science", "staff"], jti=str(n)) for n in range(options.requests)]
        requests = [REQUEST.format(token=token).encode() for token in tokens]
        with running(mesh.directory) as (process, asker):
            asyncio.run(load(asker.socket, requests[:200], options.connections))
            before = cpu_seconds(process.pid)
            wall = asyncio.run(load(asker.socket, requests, options.connections))
            busy = cpu_seconds(process.pid) - before
    print(
        f"{options.requests} cold decisions: {busy / options.requests * 1e6:.0f} us of CPU each, "
        f"{options.requests / busy:.0f} per CPU second ({options.requests / wall:.0f}/s by the clock)"
    )


if __name__ == "__main__":
    main()
