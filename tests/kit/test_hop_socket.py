"""What listens at a hop's socket may answer anything, for as long as it likes."""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from meshward.kit.hop_socket import Asking, Listener, NoAnswer

OK = b"HTTP/1.1 200 OK\r\n"
DEADLINE = 60.0
Behaviour = Callable[[socket.socket], None]


@contextlib.contextmanager
def listening(path: Path, behave: Behaviour) -> Iterator[Listener]:
    """Whoever connects meets `behave`, after having asked."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    threading.Thread(target=answer, args=(connection,), daemon=True).start()

        def answer(connection: socket.socket) -> None:
            with connection, contextlib.suppress(OSError):
                connection.recv(65_536)
                behave(connection)

        threading.Thread(target=serve, daemon=True).start()
        yield Listener(path, os.geteuid())
        server.shutdown(socket.SHUT_RDWR)


def says(*pieces: bytes) -> Behaviour:
    return lambda connection: connection.sendall(b"".join(pieces))


def endlessly(piece: bytes, *before: bytes) -> Behaviour:
    def behave(connection: socket.socket) -> None:
        connection.sendall(b"".join(before))
        while True:
            connection.sendall(piece)

    return behave


def drips(piece: bytes, *before: bytes) -> Behaviour:
    """One byte after the other, as long as a test may take."""

    def behave(connection: socket.socket) -> None:
        connection.sendall(b"".join(before))
        for byte in itertools.islice(itertools.cycle(piece), 3000):
            connection.sendall(bytes([byte]))
            time.sleep(0.02)

    return behave


LENGTH = b"Content-Length: 5\r\n\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"

GOOD = {
    "a length": says(OK, LENGTH, b"hello"),
    "chunks": says(OK, CHUNKED, b"2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\nA: b\r\n\r\n"),
    "to the end": says(OK, b"\r\n", b"hello"),
    "an interim answer": says(b"HTTP/1.1 100 Continue\r\n\r\n", OK, LENGTH, b"hello"),
    "HTTP/1.0": says(b"HTTP/1.0 200 OK\r\n", LENGTH, b"hello"),
    "kept open": lambda it: (it.sendall(OK + LENGTH + b"hello"), it.recv(1))[0],
}


@pytest.mark.parametrize("case", GOOD)
def test_an_answer(tmp_path: Path, case: str) -> None:
    with listening(tmp_path / "s", GOOD[case]) as listener:
        assert Asking(listener, DEADLINE).text("/") == "hello"
        assert Asking(listener, DEADLINE).status("POST", "/") == 200


ENDLESS = {
    "a body": endlessly(b"x" * 65_536, OK, b"\r\n"),
    "a body of a length": endlessly(b"x" * 65_536, OK, b"Content-Length: 999999999999\r\n\r\n"),
    "chunks": endlessly(b"1000\r\n" + b"x" * 4096 + b"\r\n", OK, CHUNKED),
    "small chunks": endlessly(b"1\r\nx\r\n" * 1000, OK, CHUNKED),
    "one chunk": endlessly(b"x" * 65_536, OK, CHUNKED, b"ffffffffffffff\r\n"),
    "trailers": endlessly(b"A: b\r\n" * 1000, OK, CHUNKED, b"0\r\n"),
    "interim answers": endlessly(b"HTTP/1.1 100 Continue\r\nA: b\r\n\r\n" * 100),
}
BROKEN = {
    "headers": endlessly(b"A: b\r\n", OK),
    "a header": endlessly(b"x" * 65_536, OK, b"A: "),
    "a status line": endlessly(b"x" * 65_536, b"HTTP/1.1 200 "),
    "an extension of a chunk": endlessly(b"x" * 65_536, OK, CHUNKED, b"5;"),
    "no HTTP": says(b"SSH-2.0-OpenSSH\r\n"),
    "no status": says(b"HTTP/1.1 abc OK\r\n\r\n"),
    "a negative length": says(OK, CHUNKED, b"-1\r\nhello"),
    "an endless number": says(OK, CHUNKED, b"1" * 50_000, b"\r\n"),
    "nothing": says(),
    "half a head": says(b"HTTP/1.1 200 OK\r\nContent-"),
    "half a body": says(OK, b"Content-Length: 9\r\n\r\nhello"),
    "half a chunk": says(OK, CHUNKED, b"9\r\nhello"),
    "a claim of much": says(OK, CHUNKED, b"fffffffffffffff\r\nhello"),
    "a claim of 2 GB": says(OK, CHUNKED, b"7fffffff\r\nhello"),
    "a length of 2 GB": says(OK, b"Content-Length: 2147483647\r\n\r\nhello"),
    "a claim of more": says(OK, b"Content-Length: ", b"9" * 30, b"\r\n\r\nhello"),
    "a refusal": says(b"HTTP/1.1 500 No\r\n", LENGTH, b"hello"),
    "a redirect": says(b"HTTP/1.1 302 There\r\nLocation: http://127.0.0.1:1/\r\n", LENGTH, b"hello"),
    "another interim answer": says(b"HTTP/1.1 103 Early Hints\r\n\r\n", OK, LENGTH, b"hello"),
}
SLOW = {
    "nothing": lambda it: it.recv(1),
    "a status line": drips(b"1", b"HTTP/1.1 200 "),
    "headers": drips(b"A: b\r\n", OK),
    "interim answers": drips(b"HTTP/1.1 100 Continue\r\n\r\n"),
    "a body": drips(b"x", OK, b"\r\n"),
    "a body of a length": drips(b"x", OK, b"Content-Length: 99999\r\n\r\n"),
    "chunks": drips(b"1\r\nx\r\n", OK, CHUNKED),
    "trailers": drips(b"A: b\r\n", OK, CHUNKED, b"0\r\n"),
}


@pytest.mark.parametrize("case", ENDLESS)
def test_what_does_not_end_is_read_no_further(tmp_path: Path, case: str) -> None:
    with listening(tmp_path / "s", ENDLESS[case]) as listener:
        tracemalloc.start()
        try:
            with pytest.raises(NoAnswer, match="longer than 200000 bytes"):
                Asking(listener, DEADLINE, most=200_000).text("/")
            assert tracemalloc.get_traced_memory()[1] < 30_000_000
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_no_answer(tmp_path: Path, case: str) -> None:
    with listening(tmp_path / "s", BROKEN[case]) as listener:
        tracemalloc.start()
        try:
            with pytest.raises(NoAnswer):
                Asking(listener, DEADLINE).text("/")
            assert tracemalloc.get_traced_memory()[1] < 30_000_000
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize("case", SLOW)
def test_the_whole_answer_has_its_time_not_each_byte(tmp_path: Path, case: str) -> None:
    with (
        listening(tmp_path / "s", SLOW[case]) as listener,
        pytest.raises(NoAnswer, match=r"within 0\.3 s"),
    ):
        Asking(listener, 0.3).text("/")


def test_several_questions_share_one_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its seconds pass between the two, and at no other time."""
    now = [0.0]
    monkeypatch.setattr("meshward.kit.hop_socket.time", SimpleNamespace(monotonic=lambda: now[0]))
    with listening(tmp_path / "s", GOOD["a length"]) as listener:
        asking = Asking(listener, DEADLINE)
        assert asking.text("/") == "hello"
        now[0] = DEADLINE
        with pytest.raises(NoAnswer, match="within"):
            asking.text("/")


def hears(heard: list[bytes], path: Path, answer: bytes) -> threading.Thread:
    """One connection, and what came on it."""
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.listen()

    def serve() -> None:
        connection, _ = server.accept()
        with server, connection, contextlib.suppress(BrokenPipeError):
            heard.append(connection.recv(65_536))
            connection.sendall(answer)

    serving = threading.Thread(target=serve, daemon=True)
    serving.start()
    return serving


def test_a_body_is_not_decoded_and_none_is_asked_for(tmp_path: Path) -> None:
    heard: list[bytes] = []
    serving = hears(heard, tmp_path / "s", OK + b"Content-Encoding: gzip\r\n" + LENGTH + b"\x1f\x8bxyz")
    assert Asking(Listener(tmp_path / "s"), DEADLINE).text("/x").endswith("xyz")
    serving.join(DEADLINE)
    assert heard == [
        b"GET /x HTTP/1.1\r\nHost: local\r\nAccept-Encoding: identity\r\nConnection: close\r\n\r\n"
    ]


def test_the_head_is_all_that_is_read_for_a_status(tmp_path: Path) -> None:
    with listening(tmp_path / "s", endlessly(b"x" * 65_536, b"HTTP/1.1 401 No\r\n\r\n")) as listener:
        assert Asking(listener, DEADLINE).status("POST", "/") == 401


def test_a_socket_of_another_user_is_asked_nothing(tmp_path: Path) -> None:
    """A link in a hop's directory leads wherever its owner likes."""
    heard: list[bytes] = []
    serving = hears(heard, tmp_path / "theirs", OK + LENGTH + b"hello")
    (tmp_path / "s").symlink_to(tmp_path / "theirs")
    with pytest.raises(NoAnswer, match="another's"):
        Asking(Listener(tmp_path / "s", os.geteuid() + 1), DEADLINE).text("/")
    serving.join(DEADLINE)
    assert heard == [b""]


def test_nobody_listens(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path / ("x" * 200), tmp_path):
        with pytest.raises(NoAnswer, match=r"its socket does not answer|not HTTP"):
            Asking(Listener(path)).text("/")


def test_a_handshake_has_its_time(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        host, port = server.getsockname()
        with pytest.raises(NoAnswer, match="within"):
            Asking(Listener(host=host, port=port, tls=True), 0.3).certificate()


def test_no_certificate_is_no_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        host, port = server.getsockname()

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1)
                connection.sendall(b"hello, no TLS here")

        threading.Thread(target=serve, daemon=True).start()
        with pytest.raises(NoAnswer):
            Asking(Listener(host=host, port=port, tls=True), DEADLINE).certificate()
