"""The other clients, in a process of their own: python -m bench.floods KIND PORT, the token in $BENCH_TOKEN.

That of somebody who may nothing is in $BENCH_POOR.

Says `on <connections>` once the flood is there, keeps it up until a line comes in, and prints what it did as JSON. Only
127.0.0.1 is flooded, from other addresses of the loopback network, as limits per address are part of what is measured.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import json
import os
import random
import resource
import secrets
import socket
import ssl
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from bench.load import unverified
from bench.requests import HOSTNAME

IDLE, SLOW, BODIES, READERS, PROMPTS, KEYED, LARGE = 10_000, 1_000, 300, 200, 20, 40, 40
KEYS_SIZE, LARGE_SIZE = 64_000, 1_000_000  # bytes of the body of each of those two
HELD = 1_900_000  # bytes of a body that never ends, just below the edge's limit of 2 MB
PROMPT = 100 * 1024 * 1024
BANDWIDTH = 125_000_000  # bytes per second of all bodies together: one gigabit, not what loopback carries
KIDS, HEADERS, REFUSED = 1_000, 200, 2_000  # requests per second
PIECE = 65536  # bytes of a large body, sent at once
ADDRESSES = 100  # from which connections come that are to be held
SPARE_FILES = 200
TOGETHER = 100  # handshakes under way at once
TURNS = 20  # in which all slow connections have sent their piece: in one burst they would be a load, not slow

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass
class Flood:
    """What one kind of flood has done so far. `answers` counts statuses; `cut` is connections that the edge closed."""

    port: int
    token: str
    answers: Counter[str] = field(default_factory=Counter)
    held: list[Streams] = field(default_factory=list)

    async def connect(self, source: int = 2, small: bool = False) -> Streams:
        """One TLS connection from 127.0.0.`source`; with `small` one that takes in next to nothing by itself."""
        plain = socket.socket()
        if small:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        plain.setblocking(False)
        plain.bind((f"127.0.0.{source}", 0))
        await asyncio.get_running_loop().sock_connect(plain, ("127.0.0.1", self.port))
        limit = 1024 if small else 65536
        return await asyncio.open_connection(sock=plain, ssl=_TLS, server_hostname=HOSTNAME, limit=limit)

    async def answer(self, reader: asyncio.StreamReader) -> None:
        """Read one answer to its end and count it."""
        head = await reader.readuntil(b"\r\n\r\n")
        self.answers[head.split(b" ")[1].decode()] += 1
        length = next((h for h in head.lower().split(b"\r\n") if h.startswith(b"content-length:")), b":0")
        await reader.readexactly(int(length.partition(b":")[2]))

    async def hold(self, number: int, opening: Callable[[int], Awaitable[Streams]]) -> None:
        """`number` connections as `opening` makes them, some at a time."""
        turns = asyncio.Semaphore(TOGETHER)

        async def one(n: int) -> None:
            async with turns:
                try:
                    self.held.append(await opening(n))
                except _ENDS:
                    self.answers["refused"] += 1

        await asyncio.gather(*(one(n) for n in range(number)))

    async def drip(self, piece: bytes) -> None:
        """`piece` to every held connection, once a second, in turn: the one that the edge has closed is let go."""
        for number in itertools.count():
            await asyncio.sleep(1 / TURNS)
            for streams in self.held[number % TURNS :: TURNS]:
                reader, writer = streams
                if reader.at_eof() or writer.is_closing():
                    self.held.remove(streams)
                    self.answers["cut"] += 1
                else:
                    writer.write(piece)


_TLS = unverified()
_ENDS = (OSError, ssl.SSLError, asyncio.IncompleteReadError, asyncio.LimitOverrunError)


def head(path: str, *headers: str, method: str = "POST") -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", f"Host: {HOSTNAME}", *headers]).encode() + b"\r\n"


async def slow_headers(flood: Flood) -> Awaitable[None]:
    """Requests that never come to the end of their headers."""

    async def opening(n: int) -> Streams:
        reader, writer = await flood.connect(2 + n % ADDRESSES)
        writer.write(head("/m/mock/embed"))
        return reader, writer

    await flood.hold(SLOW, opening)
    return flood.drip(b"X-A: b\r\n")


async def slow_bodies(flood: Flood) -> Awaitable[None]:
    """Bodies that never end, where the edge must read one before it knows anybody: below /v1, with no real token."""
    start = head("/v1/chat/completions", "Authorization: Bearer x", "Content-Length: 2000000") + b"\r\n"

    async def opening(n: int) -> Streams:
        reader, writer = await flood.connect(2 + n % ADDRESSES)
        writer.write(start + b" " * HELD)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(writer.drain(), 2)
        return reader, writer

    await flood.hold(BODIES, opening)
    return flood.drip(b" ")


async def slow_reads(flood: Flood) -> Awaitable[None]:
    """Answers of 1 MB that nobody reads."""
    body = b'{"model":"mock"}'
    request = head(
        "/v1/chat/completions", f"Authorization: Bearer {flood.token}", f"Content-Length: {len(body)}"
    )

    async def opening(_: int) -> Streams:
        reader, writer = await flood.connect(small=True)
        writer.write(request + b"\r\n" + body)
        await reader.readexactly(9)
        flood.answers[(await reader.readexactly(3)).decode()] += 1
        return reader, writer

    await flood.hold(READERS, opening)
    return asyncio.sleep(3600)


async def idle(flood: Flood) -> Awaitable[None]:
    """Keep-alive connections that have had an answer and ask nothing more."""
    request = head("/nothing", method="GET") + b"\r\n"

    async def opening(n: int) -> Streams:
        reader, writer = await flood.connect(2 + n % ADDRESSES)
        writer.write(request)
        await flood.answer(reader)
        return reader, writer

    await flood.hold(min(IDLE, files() - SPARE_FILES), opening)
    return asyncio.sleep(3600)


async def prompts(flood: Flood) -> Awaitable[None]:
    """Bodies of 100 MB with a good token, half of them chunked: at one gigabit per second in all."""
    piece = b" " * PIECE

    async def upload(chunked: bool) -> None:
        framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {PROMPT}"
        reader, writer = await flood.connect()
        writer.write(head("/m/mock/embed", f"Authorization: Bearer {flood.token}", framing) + b"\r\n")
        answering = asyncio.create_task(flood.answer(reader))
        try:
            for _ in range(PROMPT // len(piece)):
                if writer.is_closing():
                    break
                writer.write(b"10000\r\n" + piece + b"\r\n" if chunked else piece)
                await writer.drain()
                await asyncio.sleep(len(piece) * PROMPTS / BANDWIDTH)
        finally:
            with contextlib.suppress(*_ENDS):
                await answering
            writer.transport.abort()

    async def again(chunked: bool) -> None:
        while True:
            with contextlib.suppress(*_ENDS):
                await upload(chunked)

    return _gather([again(bool(n % 2)) for n in range(PROMPTS)])


async def headers(flood: Flood) -> Awaitable[None]:
    """Requests with as many and as large headers as are taken, and with more than are taken."""
    fitting = [f"X-{n}: {'a' * 300}" for n in range(90)]
    many = [f"X-{n}: a" for n in range(3000)]
    requests = [head("/m/mock/embed", *fitting) + b"\r\n", head("/m/mock/embed", *many) + b"\r\n"]
    return _gather(
        [_asking(flood, lambda n: requests[n % 8 == 0], HEADERS / 20, 2 + n % 10) for n in range(20)]
    )


async def kids(flood: Flood) -> Awaitable[None]:
    """Tokens with a key id that nobody has seen, each another one."""
    _, payload, signature = flood.token.split(".")

    def request(_: int) -> bytes:
        claimed = json.dumps({"alg": "ES256", "typ": "at+jwt", "kid": secrets.token_hex(8)}).encode()
        header = base64url(claimed)
        return (
            head(
                "/m/mock/embed", f"Authorization: Bearer {header}.{payload}.{signature}", "Content-Length: 0"
            )
            + b"\r\n"
        )

    return _gather([_asking(flood, request, KIDS / 20, 2 + n % 10) for n in range(20)])


def colliding(number: int) -> str:
    """A key of 40 characters, of which LuaJIT hashes four each from 0, 9, 18 and 36: the number stands elsewhere."""
    return f"keys{number:05d}{'x' * 31}"


async def keys(flood: Flood) -> Awaitable[None]:
    """Bodies below /v1 that are one object with as many keys as fit, all of one hash, from nobody."""
    members = [f'"{colliding(number)}":0' for number in range(KEYS_SIZE // 45)]
    body = f"{{{','.join(members)}}}".encode()
    request = head("/v1/embeddings", "Authorization: x", *_json(body)) + b"\r\n" + body
    return _gather([_again(flood, request, 2 + n % 10) for n in range(KEYED)])


async def large(flood: Flood) -> Awaitable[None]:
    """Conversations of 1 MB below /v1, from nobody."""
    return _gather([_again(flood, _conversation("x"), 2 + n % 10) for n in range(LARGE)])


async def talks(flood: Flood) -> Awaitable[None]:
    """The same with a good token, at one gigabit per second in all."""
    request, pause = _conversation(f"Bearer {flood.token}"), PIECE * LARGE / BANDWIDTH
    return _gather([_again(flood, request, 2 + n % 10, pause) for n in range(LARGE)])


def _conversation(credential: str) -> bytes:
    """A request whose model comes last, after tools that have a property of that name."""
    schema = {"type": "object", "properties": {"model": {"type": "string"}}}
    tool = {"type": "function", "function": {"name": "f", "parameters": schema}}
    value: dict[str, object] = {"input": "", "tools": [tool] * 100, "model": "mock"}
    value["input"] = 'a "word" ' * ((LARGE_SIZE - len(json.dumps(value))) // 11)
    body = json.dumps(value).encode()
    return head("/v1/embeddings", f"Authorization: {credential}", *_json(body)) + b"\r\n" + body


def _json(body: bytes) -> tuple[str, str]:
    return "Content-Type: application/json", f"Content-Length: {len(body)}"


async def _again(flood: Flood, request: bytes, source: int, pause: float = 0.0) -> None:
    """One request after the other, in pieces with `pause` seconds between, on a new connection where one ended."""
    while True:
        with contextlib.suppress(*_ENDS):
            reader, writer = await flood.connect(source)
            await asyncio.sleep(pause * random.random() * len(request) / PIECE)  # not all of them at one time
            while not writer.is_closing():
                for at in range(0, len(request), PIECE):
                    writer.write(request[at : at + PIECE])
                    await writer.drain()
                    await asyncio.sleep(pause)
                await flood.answer(reader)


async def refused(flood: Flood) -> Awaitable[None]:
    """Requests of one person who is known and may nothing, from ten addresses."""
    credential = f"Authorization: Bearer {os.environ['BENCH_POOR']}"
    request = head("/m/mock/embed", credential, "Content-Length: 0") + b"\r\n"
    return _gather([_asking(flood, lambda _: request, REFUSED / 20, 2 + n % 10) for n in range(20)])


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


async def _asking(flood: Flood, request: Callable[[int], bytes], rate: float, source: int) -> None:
    """`rate` requests per second, each after the answer of the one before, on a new connection where one ended."""
    clock, number = asyncio.get_running_loop().time, 0
    at = clock() + random.random() / rate
    while True:
        with contextlib.suppress(*_ENDS):
            reader, writer = await flood.connect(source)
            while True:
                at = max(at + 1 / rate, clock() - 0.1)
                await asyncio.sleep(max(0.0, at - clock()))
                number += 1
                writer.write(request(number))
                await flood.answer(reader)


async def _gather(clients: Sequence[Awaitable[None]]) -> None:
    await asyncio.gather(*clients)


KINDS = {
    "slow headers": slow_headers,
    "slow bodies": slow_bodies,
    "slow reads": slow_reads,
    "idle": idle,
    "prompts": prompts,
    "headers": headers,
    "kids": kids,
    "refused": refused,
    "keys": keys,
    "large": large,
    "talks": talks,
}


def files() -> int:
    """How many descriptors this process may have, raised as far as the machine lets it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for most in (max(hard, IDLE + 2 * SPARE_FILES), hard):
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
            return most
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


async def main(kind: str, port: int) -> None:
    files()
    os.sched_setscheduler(
        0, os.SCHED_OTHER, os.sched_param(0)
    )  # an attacker does not work on the CPUs that serve,
    os.setpriority(os.PRIO_PROCESS, 0, 10)  # so here it gets what they leave over
    flood = Flood(port, os.environ["BENCH_TOKEN"])
    going = asyncio.ensure_future(await KINDS[kind](flood))
    print("on", len(flood.held), flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    result = {"held": len(flood.held), "answers": dict(flood.answers)}
    if going.done() and (error := going.exception()):
        result["error"] = repr(error)
    print(json.dumps(result), flush=True)
    os._exit(0)  # ten thousand goodbyes are not part of it


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
