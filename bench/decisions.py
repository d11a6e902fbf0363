"""Cold decisions per second of the decision service's CPU time: every request with a token that it has not seen."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from tests.edge.mesh import Mesh, running

from bench.figures import Verdict, middle, shown, spread
from bench.machine import served_first
from bench.processes import BenchError, cpu_ns
from bench.report import Section, prose, say, table
from bench.requests import TOKEN_SIZE

REQUESTS, CONNECTIONS = 2000, 8  # of a round
PADDING = 340  # characters of a claim that make a token of about TOKEN_SIZE bytes
_REQUEST = (
    "GET /decide HTTP/1.1\r\nHost: decide\r\nX-Mw-Authorization: Bearer {token}\r\nX-Mw-Method: POST\r\n"
    "X-Mw-Model: minilm\r\nX-Mw-Path: /embed\r\nX-Mw-Front: m\r\nX-Mw-Addr: 203.0.113.9\r\n\r\n"
)


def measure(directory: Path, rounds: int) -> Section:
    mesh = Mesh(directory)
    mesh.write()
    each, rate, floor = [], [], []
    with served_first() as how, running(directory) as (process, asker):
        _round(mesh, process.pid, asker.socket, "warm")
        for number in range(rounds):
            used, seconds = _round(mesh, process.pid, asker.socket, str(number))
            each.append(used * 1e6)
            rate.append(1 / seconds)
            floor.append(_signatures() * 1e6)
            say(f"decisions {number + 1}/{rounds}: {used * 1e6:.0f} us each")
    verdict = Verdict("cold decisions per second of CPU", 1e6 / middle(each), 3000, "/s", least=True)
    lines = [
        *table(["what", "target", "measured", "verdict"], [verdict.cells()]),
        "",
        *prose(
            f"{shown(middle(each))} us of CPU each (+- {shown(spread(each))}, medians of {rounds} rounds of",
            f"{REQUESTS}); {shown(middle(rate))}/s by the clock, with {CONNECTIONS} connections. All of it runs",
            f"{how}. One decision: a new ES256 token of {TOKEN_SIZE} bytes verified, the request decided, an ES256",
            f"Transaction Token signed. Both signatures alone, over and over, take {shown(middle(floor))} us.",
        ),
    ]
    return Section("decisions", "Cold decisions", lines)


def _round(mesh: Mesh, pid: int, socket: Path, name: str) -> tuple[float, float]:
    """Seconds of CPU time, and by the clock, for one decision."""
    requests = [_request(mesh, f"{name}-{n}") for n in range(REQUESTS)]
    before, began = cpu_ns(pid), time.perf_counter()
    asyncio.run(_load(socket, requests))
    wall = time.perf_counter() - began
    return (cpu_ns(pid) - before) / 1e9 / REQUESTS, wall / REQUESTS


def _signatures() -> float:
    """Seconds of CPU time to make an ES256 signature and to verify one."""
    key, es256, message = generate_private_key(SECP256R1()), ECDSA(SHA256()), b"m" * TOKEN_SIZE
    public = key.public_key()
    began = time.process_time()
    for _ in range(REQUESTS):
        public.verify(key.sign(message, es256), message, es256)
    return (time.process_time() - began) / REQUESTS


def _request(mesh: Mesh, jti: str) -> bytes:
    token = mesh.issuer.token("alice", ["science", "staff"], jti=jti, profile="p" * PADDING)
    return _REQUEST.format(token=token).encode()


async def _load(socket: Path, requests: list[bytes]) -> None:
    await asyncio.gather(*(_drive(socket, requests[n::CONNECTIONS]) for n in range(CONNECTIONS)))


async def _drive(socket: Path, requests: list[bytes]) -> None:
    """One connection, one request after the other."""
    reader, writer = await asyncio.open_unix_connection(str(socket), limit=1 << 20)
    for request in requests:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise BenchError(f"a cold decision was refused: {head!r}")
    writer.close()
