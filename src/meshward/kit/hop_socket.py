"""What a process of another user answers on its socket: one question, and an answer that ends.

1. The kernel names who listens (SO_PEERCRED, unix(7)): a link to another's socket is noticed before a byte is sent.
2. Connecting, asking and each byte that comes count against one end in time and one in length, whatever the bytes are:
   interim answers, headers, lengths of chunks, trailers.
3. Nothing is redirected, nothing decoded, and the connection ends with its one answer.
"""

from __future__ import annotations

import http.client
import io
import socket
import ssl
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from meshward.kit.bounded import LONGEST_DOCUMENT, TooLongError

WITHIN = 2.0
"""Seconds for everything that one process is asked at a time."""
_PIECE = 65_536
_PEER = struct.Struct("3i")  # pid, uid, gid


class NoAnswer(Exception):
    """Nothing came that can be used; says why, as the end of a sentence about who was asked."""


@dataclass(frozen=True, slots=True)
class Listener:
    """Whom to ask: a unix socket (`path`) on which a process of user `uid` listens, or else an address.

    A certificate proves nothing here: `tls` takes any, and whoever asks for it compares it.
    """

    path: Path | None = None
    uid: int | None = None
    host: str = ""
    port: int = 0
    tls: bool = False

    @property
    def name(self) -> str:
        """What to call it in `Host`."""
        return "local" if self.path else f"{self.host}:{self.port}"


class Asking:
    """Questions to `listener`, all of them answered `within` seconds from now, each in at most `most` bytes."""

    def __init__(self, listener: Listener, within: float = WITHIN, most: int = LONGEST_DOCUMENT) -> None:
        self._listener = listener
        self._within = within
        self._end = time.monotonic() + within
        self._most = most

    def text(self, target: str) -> str:
        """The answer to `GET target`. Raises NoAnswer, also for any status but 200."""
        with self._answer("GET", target) as response:
            body = b"".join(_pieces(response))
            if response.status != 200:
                raise NoAnswer(f"it answers with status {response.status}")
            return body.decode("utf-8", "replace")

    def status(self, method: str, target: str) -> int:
        """The status of the answer, of which no more than its head is read. Raises NoAnswer."""
        with self._answer(method, target) as response:
            return response.status

    def certificate(self) -> bytes:
        """What the listener shows in its handshake, DER. Raises NoAnswer."""
        with self._told(), self._connected() as connection:
            shown = (
                connection.getpeercert(binary_form=True) if isinstance(connection, ssl.SSLSocket) else None
            )
        if not shown:
            raise NoAnswer("it shows no certificate")
        return shown

    @contextmanager
    def _answer(self, method: str, target: str) -> Iterator[http.client.HTTPResponse]:
        head = f"{method} {target} HTTP/1.1\r\nHost: {self._listener.name}\r\nAccept-Encoding: identity\r\n"
        if method != "GET":
            head += "Content-Length: 0\r\n"
        with self._told(), self._connected() as connection:
            connection.sendall(f"{head}Connection: close\r\n\r\n".encode("ascii"))
            metered = _Metered(connection, self._end, self._most)
            response = http.client.HTTPResponse(metered, method=method)  # type: ignore[arg-type]
            response.begin()
            if metered.ended:
                raise ValueError("a head that breaks off")
            yield response

    @contextmanager
    def _told(self) -> Iterator[None]:
        """What may happen on a socket, in our words."""
        try:
            yield
        except TimeoutError:
            raise NoAnswer(f"it did not answer within {self._within:g} s") from None
        except TooLongError:
            raise NoAnswer(f"its answer is longer than {self._most} bytes") from None
        except OSError as fault:
            raise NoAnswer(f"its socket does not answer: {type(fault).__name__}") from None
        except (http.client.HTTPException, ValueError, OverflowError, MemoryError):
            raise NoAnswer("its answer is not HTTP") from None

    @contextmanager
    def _connected(self) -> Iterator[socket.socket]:
        asked = self._listener
        with self._opened() as plain:
            if asked.uid is not None:
                require_listener(plain, asked.uid)
            plain.settimeout(left(self._end))
            if not asked.tls:
                yield plain
                return
            with unverified_context().wrap_socket(plain, server_hostname=asked.host) as tls:
                yield tls

    @contextmanager
    def _opened(self) -> Iterator[socket.socket]:
        asked = self._listener
        if asked.path is None:
            with socket.create_connection((asked.host, asked.port), left(self._end)) as connection:
                yield connection
            return
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(left(self._end))
            connection.connect(str(asked.path))
            yield connection


def require_listener(connection: socket.socket, uid: int) -> None:
    """Raises NoAnswer where a process of another user than `uid` listens at the other end."""
    _, found, _ = _PEER.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
    if found != uid:
        raise NoAnswer(f"its socket is another's: uid {found} listens there, and not uid {uid}")


def unverified_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def left(end: float) -> float:
    """Seconds until `end`. Raises TimeoutError where there are none."""
    seconds = end - time.monotonic()
    if seconds <= 0:
        raise TimeoutError
    return seconds


class _Metered(io.RawIOBase):
    """A socket, read until `end` and for at most `most` bytes."""

    def __init__(self, connection: socket.socket, end: float, most: int) -> None:
        self._connection = connection
        self._end = end
        self._left = most
        self.ended = False

    def makefile(self, _mode: str) -> io.BufferedReader:
        """As `http.client` asks a socket for it."""
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, into: memoryview) -> int:  # type: ignore[override]
        """Raises TimeoutError, TooLongError."""
        self._connection.settimeout(left(self._end))
        got = self._connection.recv_into(into)
        self.ended = got == 0
        self._left -= got
        if self._left < 0:
            raise TooLongError
        return got


def _pieces(response: http.client.HTTPResponse) -> Iterator[bytes]:
    """Of the body, so that a length that is only claimed takes no memory. Raises ValueError where it breaks off."""
    while piece := response.read(_PIECE):
        yield piece
    if response.length:
        raise ValueError("fewer bytes than the head says")
