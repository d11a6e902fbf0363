"""A whole instance, as `meshward.testing` runs one, of a policy that a test writes down to its last letter."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from meshward.runtime.place.instance_file import Guarded
from meshward.testing.instance import Reply, RunningInstance
from meshward.testing.issuer import Issuer
from meshward.testing.recorder import Recorder
from meshward.testing.stand_ins import StandIns, free_port
from meshward.testing.waiting import DEADLINE, eventually

__all__ = ["Reply", "Stack", "eventually", "running"]


class Stack(RunningInstance):
    """An instance as its attackers know it: bytes as they are sent, parts and where they run."""

    @property
    def issuer(self) -> Issuer:
        return self.issuers["test"]

    @property
    def run(self) -> Path:
        return Path(self.instance.run)

    def guard(self, model: str, version: str = "v1") -> Guarded:
        return next(g for g in self.instance.guards if (g.model, g.version) == (model, version))

    @contextmanager
    def connection(self, context: ssl.SSLContext) -> Iterator[http.client.HTTPSConnection]:
        """One connection for several requests."""
        opened = http.client.HTTPSConnection("127.0.0.1", self.port, context=context, timeout=DEADLINE)
        try:
            yield opened
        finally:
            opened.close()

    def files(self) -> Iterator[tuple[Path, bytes]]:
        """Every file of STATE and of RUN, with what is in it; but those that go while we look: parts go on writing."""
        for place in (self.state, self.run):
            for path in place.rglob("*"):
                with suppress(FileNotFoundError):
                    if path.is_file():
                        yield path, path.read_bytes()

    def raw(self, request: bytes, timeout: float = DEADLINE) -> bytes:
        """Send bytes as they are and read until the edge closes or `timeout` passes without a byte."""
        with (
            socket.create_connection(("127.0.0.1", self.port), timeout=timeout) as plain,
            self.tls().wrap_socket(plain, server_hostname=self.hostname) as tls,
        ):
            try:
                with suppress(ConnectionError):  # it may have been answered before it was all sent
                    tls.sendall(request)
                return _read_answer(tls)
            except (ConnectionError, ssl.SSLError, TimeoutError):
                return b""

    def processes(self) -> dict[str, int]:
        """Each part's pid, as `meshward status` knows it."""
        parts = json.loads((self.state / "status.json").read_text())["parts"]
        return {part["name"]: part["pid"] for part in parts if part["pid"]}


@contextmanager
def running(
    directory: Path,
    write_policy: Callable[[Path, int, Path], dict[str, Path]],
    program: str = "meshward",
    options: Iterable[str] = (),
) -> Iterator[Stack]:
    """Run an instance in `directory`. `program`: the module that is run, `tests.stack.hasty` or `meshward` itself.

    `write_policy(jwks_file, port, directory)` writes `directory`/policy.yaml and returns each version's socket.
    """
    with closing(StandIns(directory, free_port(), {"test": Issuer()})) as outside:
        jwks = directory / "jwks.json"
        outside.issuers["test"].write_jwks(jwks)
        for key, path in write_policy(jwks, outside.port, directory).items():
            outside.models[key] = Recorder(path)
        with Stack(outside, "models.test", program, options) as started:
            yield started


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
