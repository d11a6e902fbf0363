"""Load of two kinds on one target: as much as 16 connections carry, and a fixed number of requests per second."""

from __future__ import annotations

import json
import os
import socket
import ssl
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.figures import Sample
from bench.processes import BenchError, Meter

CONNECTIONS = 16
_SCRIPT = Path(__file__).with_name("wrk.lua")


@dataclass(frozen=True)
class Target:
    """Where to send which bytes. `request` is a file: the raw HTTP request, token and all."""

    port: int
    request: Path
    meter: Meter
    tls: bool = True

    def busy(self, seconds: int) -> Sample:
        """All that 16 connections carry, by wrk."""
        url = f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}/"
        argv = [
            "wrk",
            "-t1",
            f"-c{CONNECTIONS}",
            f"-d{seconds}s",
            "--timeout",
            "10s",
            "-s",
            str(_SCRIPT),
            url,
        ]
        before = self.meter.read()
        done = subprocess.run(argv, capture_output=True, text=True, check=False, env=self._environment())
        if done.returncode != 0:
            raise BenchError(f"wrk failed: {done.stdout}{done.stderr}")
        return self.meter.sample(before, json.loads(done.stdout.splitlines()[-1]))

    def paced(self, rate: int, seconds: float) -> Sample:
        """`rate` requests per second over 16 connections that are open and warm before the clock starts."""
        argv = [
            sys.executable,
            "-m",
            "bench.paced",
            str(self.port),
            str(int(self.tls)),
            str(rate),
            f"{seconds:g}",
        ]
        with subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=self._environment()
        ) as client:
            assert client.stdin and client.stdout
            if client.stdout.readline() != "warm\n":
                raise BenchError("the paced client did not get its connections")
            before = self.meter.read()
            client.stdin.write("go\n")
            client.stdin.flush()
            return self.meter.sample(before, json.loads(client.stdout.readline()))

    def once(self, request: bytes | None = None) -> tuple[int, bytes]:
        """One request on a connection of its own: status, and everything that came back."""
        return once(self.port, request or self.request.read_bytes(), self.tls)

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "BENCH_REQUEST": str(self.request)}


def once(port: int, request: bytes, tls: bool = True) -> tuple[int, bytes]:
    """One request to 127.0.0.1 on a connection of its own: status, and everything that came back."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as plain:
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
