"""A paced client in a process of its own: python -m bench.paced PORT TLS RATE CONNECTIONS.

It says `warm` once every connection has had an answer. Each line is then a number of seconds, for which it sends, and
which it answers with a JSON line. wrk cannot do this: it sends the next request as soon as an answer is there.

$BENCH_REQUEST names the request's file. $BENCH_CALLERS may name one of tokens, one a line: they are shared out among
the connections, each in turn stands in place of ANY_TOKEN, and each connection comes from an address of its own.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bench.load import unverified
from bench.requests import ANY_TOKEN

WARM = 3  # requests of each connection before any counts


@dataclass
class Client:
    """One keep-alive connection. `latencies` in seconds."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    requests: Iterator[bytes]
    latencies: list[float] = field(default_factory=list)
    errors: int = 0

    async def ask(self) -> None:
        clock = asyncio.get_running_loop().time
        began = clock()
        self.writer.write(next(self.requests))
        head = (await self.reader.readuntil(b"\r\n\r\n")).lower()
        length = next((line for line in head.split(b"\r\n") if line.startswith(b"content-length:")), None)
        if length:
            await self.reader.readexactly(int(length.partition(b":")[2]))
        else:
            await self._chunks()
        self.latencies.append(clock() - began)
        self.errors += not head.startswith(b"http/1.1 200 ")

    async def _chunks(self) -> None:
        """The rest of a chunked answer."""
        size = -1
        while size:
            size = int(await self.reader.readline(), 16)
            await self.reader.readexactly(size + 2)

    async def run(self, times: list[float]) -> None:
        """A request at each of `times`; one that is late delays none but its successor."""
        clock = asyncio.get_running_loop().time
        for at in times:
            await asyncio.sleep(max(0.0, at - clock()))
            await self.ask()

    def taken(self) -> list[float]:
        """The latencies since the last time, in milliseconds."""
        latencies, self.latencies = self.latencies, []
        return [each * 1e3 for each in latencies]


async def connect(port: int, tls: bool, requests: Iterator[bytes], source: str) -> Client:
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=unverified() if tls else None, local_addr=(source, 0)
    )
    client = Client(reader, writer, requests)
    for _ in range(WARM):
        await client.ask()
    client.taken()
    return client


def written(number: int, connections: int) -> Iterator[bytes]:
    """What connection `number` sends, again and again."""
    request = Path(os.environ["BENCH_REQUEST"]).read_bytes()
    if "BENCH_CALLERS" not in os.environ:
        return itertools.repeat(request)
    tokens = Path(os.environ["BENCH_CALLERS"]).read_bytes().split()[number::connections]
    return (request.replace(ANY_TOKEN.encode(), token) for token in itertools.cycle(tokens))


def source(number: int) -> str:
    """The address of connection `number`: one for all, unless there are many callers."""
    return f"127.1.{number // 200}.{number % 200 + 1}" if "BENCH_CALLERS" in os.environ else "127.0.0.1"


async def main(port: int, tls: bool, rate: int, connections: int) -> None:
    clients = await asyncio.gather(
        *(connect(port, tls, written(n, connections), source(n)) for n in range(connections))
    )
    print("warm", flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        start = asyncio.get_running_loop().time()
        times = [start + number / rate for number in range(round(rate * float(line)))]
        await asyncio.gather(*(client.run(times[n::connections]) for n, client in enumerate(clients)))
        result = {
            "seconds": asyncio.get_running_loop().time() - start,
            "latencies": [each for client in clients for each in client.taken()],
            "errors": sum(client.errors for client in clients),
        }
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2] == "1", int(sys.argv[3]), int(sys.argv[4])))
