"""A proxy that breaks what goes through it: between a client and a server on this machine, by port or by socket.

`mode` may change at any time, for open connections too: `pass`; `refuse` ends connections; `blackhole` takes
everything and answers nothing; `delay <ms>` holds back each piece of an answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

Address = tuple[str, int] | Path


class FaultProxy:
    """In front of `upstream`, in a thread of its own. `port` is where it listens, unless it does on a socket."""

    def __init__(self, upstream: Address, listen: Path | None = None) -> None:
        self.mode = "pass"
        self.port = 0
        self._upstream, self._listen = upstream, listen
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(60)

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(_end_the_others(), self._loop).result(60)
        self._loop.call_soon_threadsafe(self._loop.stop)
        if self._listen is not None:
            self._listen.unlink(missing_ok=True)

    async def _start(self) -> None:
        if self._listen is not None:
            await asyncio.start_unix_server(self._serve, self._listen)
            return
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = int(server.sockets[0].getsockname()[1])

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.mode == "refuse":
            _reset(writer)
            return
        try:
            upward, downward = await self._connect()
        except OSError:
            _reset(writer)
            return
        await asyncio.gather(self._pump(reader, downward, False), self._pump(upward, writer, True))

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if isinstance(self._upstream, Path):
            return await asyncio.open_unix_connection(str(self._upstream))
        return await asyncio.open_connection(*self._upstream)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: bool) -> None:
        with contextlib.suppress(OSError):
            while piece := await reader.read(16384):
                while self.mode == "blackhole":
                    await asyncio.sleep(0.02)
                if self.mode == "refuse":
                    break
                if answer and self.mode.startswith("delay "):
                    await asyncio.sleep(int(self.mode.split()[1]) / 1000)
                writer.write(piece)
                await writer.drain()
        writer.close()


async def _end_the_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


def _reset(writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        linger = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.transport.abort()


@contextmanager
def before(path: Path) -> Iterator[FaultProxy]:
    """A proxy in the place of the socket at `path`, with its owner and mode; the server behind it notices nothing."""
    real, stat = path.with_name("real.sock"), path.stat()
    path.rename(real)
    proxy = FaultProxy(real, listen=path)
    try:
        path.chmod(stat.st_mode & 0o777)
        with contextlib.suppress(PermissionError):
            os.chown(path, stat.st_uid, stat.st_gid)
        yield proxy
    finally:
        proxy.close()
        real.rename(path)
