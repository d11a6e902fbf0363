"""Load of two kinds on one target: as much as 16 connections carry, and a fixed number of requests per second."""

from __future__ import annotations

import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.figures import Sample
from bench.processes import BenchError, Meter

CONNECTIONS = 16
_SCRIPT = Path(__file__).with_name("wrk.lua")


@dataclass(frozen=True)
class Pacer:
    """A paced client whose connections are open and warm."""

    client: subprocess.Popen[str]

    def go(self, seconds: float) -> dict[str, Any]:
        """What `bench.paced` tells of the next `seconds`."""
        assert self.client.stdin and self.client.stdout
        self.client.stdin.write(f"{seconds:g}\n")
        self.client.stdin.flush()
        result: dict[str, Any] = json.loads(self.client.stdout.readline() or "{}")
        if not result:
            raise BenchError("the paced client has ended")
        return result


@dataclass(frozen=True)
class Target:
    """Where to send which bytes. `request` is a file: the raw HTTP request, token and all.

    With `callers`, a file of tokens, one a line, `requests.ANY_TOKEN` in the request is each of them in turn, and each
    connection comes from an address of its own.
    """

    port: int
    request: Path
    meter: Meter
    tls: bool = True
    callers: Path | None = None

    def sending(self, request: Path) -> Target:
        """The same way with other bytes."""
        return replace(self, request=request)

    def busy(self, seconds: int) -> Sample:
        """All that 16 connections carry, by wrk."""
        before = self.meter.read()
        with self.wrk(seconds) as process:
            told, why = process.communicate()
        if process.returncode != 0:
            raise BenchError(f"wrk failed: {told}{why}")
        return self.meter.sample(before, json.loads(told.splitlines()[-1]))

    def paced(self, rate: int, seconds: float) -> Sample:
        """`rate` requests per second over 16 connections that are open and warm before the clock starts."""
        with self.pacer(rate) as client:
            before = self.meter.read()
            result = client.go(seconds)
        latencies = sorted(result["latencies"])
        p50, p99 = (latencies[len(latencies) * part // 100] for part in (50, 99))
        return self.meter.sample(before, {**result, "requests": len(latencies), "p50": p50, "p99": p99})

    def wrk(
        self, seconds: int, connections: int = CONNECTIONS, environment: Mapping[str, str] | None = None
    ) -> subprocess.Popen[str]:
        if not shutil.which("wrk"):
            raise BenchError("`wrk` is not installed")
        url = f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}/"
        argv = [
            "wrk",
            "-t1",
            f"-c{connections}",
            f"-d{seconds}s",
            "--timeout",
            "20s",
            "-s",
            str(_SCRIPT),
            url,
        ]
        settings = self._environment() | dict(environment or {})
        return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=settings)

    @contextmanager
    def pacer(self, rate: int, connections: int = CONNECTIONS) -> Iterator[Pacer]:
        argv = [sys.executable, "-m", "bench.paced"]
        argv += [str(each) for each in (self.port, int(self.tls), rate, connections)]
        with subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=self._environment()
        ) as client:
            assert client.stdout
            if client.stdout.readline() != "warm\n":
                raise BenchError("the paced client did not get its connections")
            yield Pacer(client)
            client.kill()

    def once(self, request: bytes | None = None) -> tuple[int, bytes]:
        """One request on a connection of its own: status, and everything that came back."""
        return once(self.port, request or self.request.read_bytes(), self.tls)

    def must_serve(self, what: str, where: str = "") -> bytes:
        """What came back of one request. Raises BenchError where `what` does not serve it; `where` says more."""
        status, answer = self.once()
        if status != 200:
            raise BenchError(f"{what} does not serve: {answer[:500]!r}{where}")
        return answer

    def _environment(self) -> dict[str, str]:
        callers = {"BENCH_CALLERS": str(self.callers)} if self.callers else {}
        return {**os.environ, "BENCH_REQUEST": str(self.request), **callers}


def once(port: int, request: bytes, tls: bool = True) -> tuple[int, bytes]:
    """One request to 127.0.0.1 on a connection of its own: status, and everything that came back."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as plain:
        connection: Any = unverified().wrap_socket(plain) if tls else plain
        connection.sendall(request)
        answer = bytearray()
        while not _whole(answer) and (chunk := connection.recv(65536)):
            answer += chunk
    return int(answer.split(b" ", 2)[1]), bytes(answer)


def unverified() -> ssl.SSLContext:
    """A load generator's context: wrk does not verify either, so that both clients do the same work."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _whole(answer: bytes | bytearray) -> bool:
    head, found, body = bytes(answer).partition(b"\r\n\r\n")
    lengths = [
        line.partition(b":")[2] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")
    ]
    return bool(found) and (len(body) >= int(lengths[0]) if lengths else body.endswith(b"0\r\n\r\n"))
