"""python -m bench.mixed: good traffic of several callers, and streams that nobody ends, until told to stop.

The job comes as one JSON line on stdin (`Job`); then each line `mark` is answered with what happened since the last one
(`Seen`), as a JSON line. A request fails if it is not answered with 200, or not at all: on a kept connection too that
the edge closed just then, which a client with retries would not notice. Such failures are counted apart as `closed`.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench import requests
from bench.load import unverified

CONNECTIONS = 16
PATIENCE = 60  # seconds for a connection, an answer, or an event
_EVENT = re.compile(rb"data: (\d+)\n")


@dataclass(frozen=True, slots=True)
class Job:
    """`rate` requests a second to `paths`, and one open stream to each of `streams`; callers take turns."""

    port: int
    rate: int
    tokens: Sequence[str]
    paths: Sequence[str]
    streams: Sequence[str]


@dataclass(slots=True)
class Seen:
    """`latencies` in milliseconds. `open`: streams that go on by now; `cut`: those that ended, or lost an event."""

    requests: int = 0
    failed: int = 0
    closed: int = 0
    cut: int = 0
    open: int = 0
    why: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    latencies: list[float] = field(default_factory=list)

    def fail(self, why: str) -> None:
        self.failed += 1
        self.why[why] += 1

    def counts(self) -> dict[str, Any]:
        named = ("requests", "failed", "closed", "cut", "open")
        return {name: getattr(self, name) for name in named} | {"why": dict(self.why)}

    def told(self) -> str:
        ordered = sorted(self.latencies) or [0.0]
        middle, late = ordered[len(ordered) // 2], ordered[len(ordered) * 99 // 100]
        return json.dumps({**self.counts(), "p50": middle, "p99": late})


class Load:
    """All of it, in one event loop."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.seen = Seen()
        self.running: set[int] = set()

    def mark(self) -> str:
        """What happened since the last mark."""
        seen, self.seen = self.seen, Seen()
        seen.open = len(self.running)
        return seen.told()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(CONNECTIONS):
                group.create_task(self._pace(number))
            for number, path in enumerate(self.job.streams):
                group.create_task(self._hold(number, path))

    async def _pace(self, number: int) -> None:
        """Every `CONNECTIONS`th request, on one kept connection for as long as it lasts."""
        clock, every = asyncio.get_running_loop().time, CONNECTIONS / self.job.rate
        at, turn, link = clock() + number / self.job.rate, number, None
        while True:
            await asyncio.sleep(max(0.0, at - clock()))
            at, turn = max(at + every, clock() - 1), turn + CONNECTIONS
            link = await self._ask(link, turn)

    async def _ask(self, link: Link | None, turn: int) -> Link | None:
        """One request; returns the connection, if it can be used again."""
        began = asyncio.get_running_loop().time()
        self.seen.requests += 1
        kept, path = link is not None, self.job.paths[turn % len(self.job.paths)]
        try:
            link = link or await Link.open(self.job.port)
            status, stays = await link.post(self._request(path, turn))
        except (OSError, asyncio.IncompleteReadError, TimeoutError) as error:
            self.seen.fail(f"{type(error).__name__} {path}")
            self.seen.closed += kept
            return None
        self.seen.latencies.append((asyncio.get_running_loop().time() - began) * 1e3)
        if status != 200:
            self.seen.fail(f"{status} {path}")
        if not stays:
            link.writer.close()
        return link if stays else None

    async def _hold(self, number: int, path: str) -> None:
        """A stream for as long as it goes on; what ends it is counted, and it is opened again."""
        while True:
            expected = 0
            try:
                link = await Link.open(self.job.port)
                link.writer.write(self._request(path, number))
                async for event in link.events():
                    if event != expected:
                        break
                    expected += 1
                    self.running.add(number)
            except (OSError, asyncio.IncompleteReadError, TimeoutError) as error:
                self.seen.why[f"stream {type(error).__name__} {path}"] += 1
            self.running.discard(number)
            self.seen.cut += 1
            await asyncio.sleep(0.2)

    def _request(self, path: str, turn: int) -> bytes:
        token = self.job.tokens[turn % len(self.job.tokens)]
        return requests.post(path, requests.prompt(), {"Authorization": f"Bearer {token}"})


@dataclass(frozen=True, slots=True)
class Link:
    """A TLS connection to the edge."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @staticmethod
    async def open(port: int) -> Link:
        async with asyncio.timeout(PATIENCE):
            return Link(*await asyncio.open_connection("127.0.0.1", port, ssl=unverified()))

    async def post(self, request: bytes) -> tuple[int, bool]:
        """Status, and whether the connection stays."""
        async with asyncio.timeout(PATIENCE):
            self.writer.write(request)
            head = (await self.reader.readuntil(b"\r\n\r\n")).lower()
            length = next(line for line in head.split(b"\r\n") if line.startswith(b"content-length:"))
            await self.reader.readexactly(int(length.partition(b":")[2]))
        return int(head.split(b" ", 2)[1]), b"\r\nconnection: close" not in head

    async def events(self) -> AsyncIterator[int]:
        """The numbers of a stream's events. Ends when the stream does."""
        while True:
            async with asyncio.timeout(PATIENCE):
                line = await self.reader.readline()
            if not line or line == b"0\r\n":
                return
            if found := _EVENT.fullmatch(line):
                yield int(found[1])


async def main() -> None:
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    load = Load(Job(**json.loads(await lines.readline())))
    running = asyncio.create_task(load.run())
    while (await lines.readline()) == b"mark\n":
        if running.done():
            running.result()
        print(load.mark(), flush=True)
    running.cancel()


if __name__ == "__main__":
    asyncio.run(main())
