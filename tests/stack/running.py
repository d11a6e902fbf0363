"""A whole instance under test: `meshward up` as a user runs it, a recording model, and an issuer of our own."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from meshward.runtime.place.instance_file import Guarded, Instance, load_instance
from meshward.testing.issuer import Issuer
from meshward.testing.recorder import Recorder

START_WITHIN = 60.0
SERVERS_GID = 61001  # a group of the model servers' own, as an operator would give them


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def request_id(self) -> str:
        return self.headers.get("x-request-id", "")


@dataclass
class Stack:
    state: Path
    policy: Path
    hostname: str
    port: int
    issuer: Issuer
    models: dict[str, Recorder]  # "<model>/<version>"
    process: subprocess.Popen[str]

    @property
    def instance(self) -> Instance:
        return load_instance(self.state)

    @property
    def run(self) -> Path:
        return Path(self.instance.run)

    def guard(self, model: str, version: str = "v1") -> Guarded:
        return next(g for g in self.instance.guards if (g.model, g.version) == (model, version))

    def tls(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.instance.root_certificate)
        context.check_hostname = False  # raw tests send any Host; the chain is verified all the same
        return context

    def call(
        self,
        method: str,
        path: str,
        token: str | None = None,
        body: Any = None,
        headers: dict[str, str] | None = None,
        certificate: Path | None = None,
    ) -> Reply:
        """One request on a connection of its own; `certificate`: key and chain of a client certificate."""
        context = self.tls()
        if certificate is not None:
            context.load_cert_chain(certificate)
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, context=context, timeout=60)
        send = {"Host": f"{self.hostname}:{self.port}", **(headers or {})}
        if token is not None:
            send["Authorization"] = f"Bearer {token}"
        payload = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        if payload is not None:
            send.setdefault("Content-Type", "application/json")
        try:
            connection.request(method, path, payload, send)
            response = connection.getresponse()
            content = response.read()
        finally:
            connection.close()
        return Reply(response.status, {k.lower(): v for k, v in response.getheaders()}, content)

    @contextmanager
    def connection(self, context: ssl.SSLContext) -> Iterator[http.client.HTTPSConnection]:
        """One connection for several requests."""
        opened = http.client.HTTPSConnection("127.0.0.1", self.port, context=context, timeout=60)
        try:
            yield opened
        finally:
            opened.close()

    def raw(self, request: bytes, timeout: float = 10.0) -> bytes:
        """Send bytes as they are and read until the edge closes or `timeout` passes without a byte."""
        with (
            socket.create_connection(("127.0.0.1", self.port), timeout=timeout) as plain,
            self.tls().wrap_socket(plain, server_hostname=self.hostname) as tls,
        ):
            try:
                tls.sendall(request)
                return _read_answer(tls)
            except (ConnectionError, ssl.SSLError, TimeoutError):
                return b""

    def taken(self) -> list[Any]:
        return [request for model in self.models.values() for request in model.taken()]

    def processes(self) -> dict[str, int]:
        """Each part's pid, as `meshward status` knows it."""
        parts = json.loads((self.state / "status.json").read_text())["parts"]
        return {part["name"]: part["pid"] for part in parts if part["pid"]}


def eventually(condition: Callable[[], Any], within: float = 60.0, what: str = "the condition") -> Any:
    """Wait until `condition()` is true and return it; fail with `what` when the time is up."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        try:
            if found := condition():
                return found
        except (OSError, ValueError, KeyError, http.client.HTTPException):
            pass
        time.sleep(0.02)
    raise AssertionError(f"{what} did not come about within {within:.0f} s")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(
    directory: Path, write_policy: Callable[[Path, int, Path], dict[str, Path]], program: str = "meshward"
) -> Iterator[Stack]:
    """Run an instance in `directory`. `program`: the module that is run, `tests.stack.hasty` or `meshward` itself.

    `write_policy(jwks_file, port, directory)` writes `directory`/policy.yaml and returns each version's socket.
    """
    issuer, port = Issuer(), free_port()
    jwks = directory / "jwks.json"
    issuer.write_jwks(jwks)
    sockets = write_policy(jwks, port, directory)
    state = directory / "s"
    gid = SERVERS_GID if os.geteuid() == 0 else None
    models = {name: Recorder(path, gid) for name, path in sockets.items()}
    log = (directory / "up.log").open("w")
    process = subprocess.Popen(
        [sys.executable, "-m", program, "up", str(directory / "policy.yaml"), "--state", str(state)],
        stdout=log, stderr=log, text=True, start_new_session=True,
    )  # fmt: skip
    stack = Stack(state, directory / "policy.yaml", "models.test", port, issuer, models, process)
    try:
        eventually(lambda: _up(stack), START_WITHIN, f"the instance\n{(directory / 'up.log').read_text()}")
        yield stack
    finally:
        for started in {process, stack.process}:  # a test may have started it again
            if started.poll() is None:
                os.kill(started.pid, signal.SIGTERM)
            started.wait(60)
        for model in models.values():
            model.close()


def _up(stack: Stack) -> bool:
    if stack.process.poll() is not None:
        log = (stack.policy.parent / "up.log").read_text()
        raise AssertionError(f"`meshward up` ended with {stack.process.returncode}:\n{log}")
    return (
        "ready" in (stack.policy.parent / "up.log").read_text() and stack.call("GET", "/healthz").status > 0
    )


def _read_answer(tls: ssl.SSLSocket) -> bytes:
    """One whole response by its own framing, or all there is until the peer closes."""
    data = b""
    while b"\r\n\r\n" not in data:
        chunk = tls.recv(65536)
        if not chunk:
            return data
        data += chunk
    head, _, body = data.partition(b"\r\n\r\n")
    lengths = [
        line.split(b":")[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")
    ]
    while lengths and len(body) < int(lengths[0]):
        chunk = tls.recv(65536)
        if not chunk:
            break
        body += chunk
    return head + b"\r\n\r\n" + body
