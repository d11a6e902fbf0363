"""A whole instance under test, `meshward up` as a user runs it, with stand-ins for all that is outside.

    with running("policy.yaml") as instance:
        ann = instance.token("okta", "00u1ann", ["data-science"])
        assert instance.call("POST", "/m/minilm/embed", ann, {"inputs": "hello"}).status == 200
        (request,) = instance.models["minilm/v1"].taken()

It needs what an instance needs (nginx, Envoy), and some seconds to start: let the tests of a module share one.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from meshward.control.unix import ask
from meshward.control.verbs.apply import APPLY, Applied
from meshward.instance.status import Status, status
from meshward.policy.parse import to_json
from meshward.runtime.place.instance_file import Instance, load_instance
from meshward.testing.given import Given, policy_of
from meshward.testing.issuer import Issuer
from meshward.testing.recorder import Received, Recorder
from meshward.testing.stand_ins import StandIns, free_port
from meshward.testing.waiting import DEADLINE, eventually

START = ("up", "--allow-root-parts")
"""How it is started: tests are not about isolation, so a Python that root alone can reach hinders none."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a client got. Names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def request_id(self) -> str:
        return self.headers.get("x-request-id", "")


class RunningInstance:
    """`meshward up` over `outside.directory`/policy.yaml, from the beginning of a `with` block to its end.

    `program`: the module that is run in the place of `meshward`; `options`: what `up` is given besides.
    """

    def __init__(
        self, outside: StandIns, hostname: str, program: str = "meshward", options: Iterable[str] = ()
    ) -> None:
        self.outside, self.hostname, self.program, self.options = outside, hostname, program, tuple(options)
        self.policy = outside.directory / "policy.yaml"
        self.log = outside.directory / "up.log"
        self.state = outside.directory / "s"

    def __enter__(self) -> Self:
        self._first = self.process = self._start()
        try:
            eventually(self._is_ready, what="the instance")
        except BaseException as error:
            error.add_note(self.log.read_text())
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    @property
    def port(self) -> int:
        return self.outside.port

    @property
    def issuers(self) -> dict[str, Issuer]:
        """The stand-ins of the policy's issuers, by name."""
        return self.outside.issuers

    @property
    def models(self) -> dict[str, Recorder]:
        """The stand-ins of the model servers, by `<model>/<version>`."""
        return self.outside.models

    @property
    def instance(self) -> Instance:
        """What clients need of it: its URL, its root certificate."""
        return load_instance(self.state)

    def token(self, issuer: str, subject: str, groups: Iterable[str] = (), **claims: Any) -> str:
        """A good token of the policy's `issuer`, unless `claims` make it a bad one (`Issuer.token`)."""
        return self.issuers[issuer].token(subject, tuple(groups), **claims)

    def call(
        self,
        method: str,
        path: str,
        token: str | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        certificate: Path | None = None,
    ) -> Reply:
        """One request on a connection of its own. `certificate`: the key and chain of a client's certificate."""
        context = self.tls()
        if certificate is not None:
            context.load_cert_chain(certificate)
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, context=context, timeout=DEADLINE)
        send = {"Host": f"{self.hostname}:{self.port}", **(headers or {})}
        if token is not None:
            send["Authorization"] = f"Bearer {token}"
        payload = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        if payload is not None:
            send.setdefault("Content-Type", "application/json")
        with closing(connection):
            connection.request(method, path, payload, send)
            response = connection.getresponse()
            return Reply(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())

    def tls(self) -> ssl.SSLContext:
        """Trusts the instance's root alone. Names are not compared: a test may send any `Host`."""
        context = ssl.create_default_context(cafile=self.instance.root_certificate)
        context.check_hostname = False
        return context

    def taken(self) -> list[Received]:
        """What reached any model since the last call."""
        return [request for model in self.models.values() for request in model.taken()]

    def apply(self, policy: Given, allow: Iterable[str] = ("widening",)) -> Applied:
        """Make another policy live, as `meshward apply` does, with the same stand-ins.

        Raises MeshwardError where the instance refuses; `allow=()` refuses what widens access.
        """
        text = to_json(self.outside.put_into(policy_of(policy)))
        return ask(self.state, APPLY, {"policy": text, "allow": list(allow)}, lambda _: None)

    def status(self) -> Status:
        """What `meshward status` says."""
        return status(self.state)

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run another command on this instance to its end: `instance.command("trace", reply.request_id)`."""
        command = [sys.executable, "-m", "meshward", *arguments, "--state", str(self.state)]
        return subprocess.run(command, capture_output=True, text=True, timeout=2 * DEADLINE, check=False)

    def _start(self) -> subprocess.Popen[str]:
        given = (*START, *self.options, str(self.policy), "--state", str(self.state))
        command = [sys.executable, "-m", self.program, *given]
        with self.log.open("w") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, text=True, start_new_session=True)

    def _is_ready(self) -> bool:
        if self.process.poll() is not None:
            raise AssertionError(f"`meshward up` ended with {self.process.returncode}")
        return "ready: https:" in self.log.read_text() and self.call("GET", "/healthz").status > 0

    def _stop(self) -> None:
        for process in {self._first, self.process}:  # a test may have started it again
            if process.poll() is None:
                os.kill(process.pid, signal.SIGTERM)
            process.wait(DEADLINE)


@contextmanager
def running(policy: Given, directory: Path | None = None) -> Iterator[RunningInstance]:
    """Run an instance of `policy`, with stand-ins for its issuers, its servers and their secrets.

    Without `directory` in one of its own. Its path must be short (a socket's may have 103 bytes), and where we are
    root, others must be allowed to pass it.
    """
    with _place(directory) as place, closing(StandIns(place, free_port())) as outside:
        put = outside.put_into(policy_of(policy))
        (place / "policy.yaml").write_text(to_json(put))
        with RunningInstance(outside, str(put.edge.hostname)) as instance:
            yield instance


@contextmanager
def _place(directory: Path | None) -> Iterator[Path]:
    if directory is not None:
        yield directory
        return
    with tempfile.TemporaryDirectory(prefix="mw") as made:
        Path(made).chmod(0o711)
        yield Path(made)
