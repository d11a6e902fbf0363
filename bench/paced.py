"""A paced client in a process of its own: python -m bench.paced PORT TLS RATE SECONDS, the request in $BENCH_REQUEST.

Says `warm` once every connection has had an answer, starts when a line comes in, and prints its result as JSON. wrk
cannot do this: it sends the next request as soon as an answer is there.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

from bench.load import CONNECTIONS, unverified


@dataclass
class Client:
    """One keep-alive connection. `latencies` in seconds."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    request: bytes
    latencies: list[float] = field(default_factory=list)
    errors: int = 0

    async def ask(self) -> None:
        clock = asyncio.get_running_loop().time
        began = clock()
        self.writer.write(self.request)
        head = (await self.reader.readuntil(b"\r\n\r\n")).lower()
        length = next(line for line in head.split(b"\r\n") if line.startswith(b"content-length:"))
        await self.reader.readexactly(int(length.partition(b":")[2]))
        self.latencies.append(clock() - began)
        self.errors += not head.startswith(b"http/1.1 200 ")

    async def run(self, first: float, every: float, until: float) -> None:
        """A request at `first` and then each `every` seconds; one that is late delays none but its successor."""
        clock = asyncio.get_running_loop().time
        at = first
        while at < until:
            await asyncio.sleep(max(0.0, at - clock()))
            await self.ask()
            at += every


async def connect(port: int, tls: bool, request: bytes) -> Client:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=unverified() if tls else None)
    client = Client(reader, writer, request)
    for _ in range(3):
        await client.ask()
    client.latencies.clear()
    return client


async def main(port: int, tls: bool, rate: int, seconds: float) -> None:
    request = Path(os.environ["BENCH_REQUEST"]).read_bytes()
    clients = [await connect(port, tls, request) for _ in range(CONNECTIONS)]
    print("warm", flush=True)
    sys.stdin.readline()
    start = asyncio.get_running_loop().time()
    every = CONNECTIONS / rate
    await asyncio.gather(
        *(client.run(start + n / rate, every, start + seconds) for n, client in enumerate(clients))
    )
    latencies = sorted(latency for client in clients for latency in client.latencies)
    result = {
        "requests": len(latencies),
        "seconds": asyncio.get_running_loop().time() - start,
        "p50": latencies[len(latencies) // 2] * 1e3,
        "p99": latencies[len(latencies) * 99 // 100] * 1e3,
        "errors": sum(client.errors for client in clients),
    }
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2] == "1", int(sys.argv[3]), float(sys.argv[4])))
