"""python -m bench.streaming GID SOCKET...: a model on many sockets that answers at once, or streams.

`POST /embed` is answered with 1 KB of JSON. `POST /v1/chat/completions` is a stream of server-sent events, `data: <n>`
with n rising from 0, one in each `EVERY` seconds, until the client goes: only somebody in between can end it.
`POST /v1/completions` is one of `EVENTS` events, `GAP` seconds apart.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys

from bench import requests

EVERY = 0.5  # seconds
EVENTS, GAP = 500, 0.002
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\n"
_EMBEDDING = requests.embedding()
_ANSWER = _HEAD % b"application/json" + b"Content-Length: %d\r\n\r\n" % len(_EMBEDDING) + _EMBEDDING
_STREAM = _HEAD % b"text/event-stream" + b"Transfer-Encoding: chunked\r\n\r\n"


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One connection of a guard."""
    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(_length(head))
            if head.startswith(b"POST /v1/completions "):
                await _answer_of_events(writer)
                continue
            if head.startswith(b"POST /v1/"):
                await _stream(writer)
            writer.write(_ANSWER)
            await writer.drain()
    writer.close()


def _length(head: bytes) -> int:
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return int(lengths[0].partition(b":")[2]) if lengths else 0


async def _stream(writer: asyncio.StreamWriter) -> None:
    """Returns never: it ends with the OSError of a writer whose reader is gone."""
    writer.write(_STREAM)
    number = 0
    while True:
        event = b"data: %d\n\n" % number
        writer.write(b"%x\r\n%b\r\n" % (len(event), event))
        await writer.drain()
        await asyncio.sleep(EVERY)
        number += 1


async def _answer_of_events(writer: asyncio.StreamWriter) -> None:
    clock = asyncio.get_running_loop().time
    began = clock()
    writer.write(_STREAM)
    for number in range(EVENTS):
        event = requests.event(number)
        writer.write(b"%x\r\n%b\r\n" % (len(event), event))
        await writer.drain()
        await asyncio.sleep(max(0.0, began + number * GAP - clock()))
    writer.write(b"0\r\n\r\n")


async def main(paths: list[str], gid: int | None) -> None:
    os.umask(0o117)
    for path in paths:
        await asyncio.start_unix_server(serve, path)
        if gid is not None:
            os.chown(path, -1, gid)
    print("serving", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    group, *sockets = sys.argv[1:]
    asyncio.run(main(sockets, int(group) if group != "-" else None))
