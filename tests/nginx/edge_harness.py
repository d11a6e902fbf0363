"""The real nginx with the real program, between a client that may send any bytes and two servers that record.

`Edge` starts nginx, under a user of its own when the tests run as root; `script(name, text)` may change a file of
its Lua. Its `decision` is a decision service that answers as told; its `guards` are TLS servers on unix sockets that
demand client certificates, as Envoy does. On a busy machine they may be slower than any part of ours, so that nginx
is more patient with them than it is at work; `patient=False` leaves it the patience that it ships with.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import re
import secrets
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import nginx_pki
import other_nginx

from meshward.apply.edge_page import EdgePage, page_bytes
from meshward.apply.hop_files import edge_files
from meshward.kit.durable import write_atomic
from meshward.spiffe.placeholder import placeholder_certificate
from meshward.targets.nginx.settings import EdgeSettings
from meshward.testing.stand_ins import free_port
from meshward.testing.waiting import DEADLINE, eventually

HOST = "models.test"
DOMAIN = "td.test"
EDGE_UID = 61090  # below what a part may get: an instance that starts ends what runs as a user of its parts
TIE = "ab" * 16  # by which a permitted caller's answers can be ended
GUARDS = {0: f"v1.minilm.{DOMAIN}", 1: f"v2.minilm.{DOMAIN}"}
_SHORT = re.compile(rb"(proxy_(?:connect|read)_timeout) [1-5]s;")


def nginx_binary() -> str:
    found = (
        other_nginx.binary()
        or shutil.which("nginx")
        or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    )
    assert found, "nginx is needed for these tests"
    return found


# --- servers --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Received:
    """One request as its server read it."""

    line: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    peer: Mapping[str, Any] | None = None

    @property
    def method(self) -> str:
        return self.line.split(" ")[0]

    @property
    def target(self) -> str:
        return self.line.split(" ")[1]

    def get(self, name: str) -> str | None:
        found = [value for key, value in self.headers if key.lower() == name.lower()]
        assert len(found) < 2, f"{name} came twice"
        return found[0] if found else None


@dataclass(frozen=True)
class Answer:
    """What a server of ours sends: an answer, raw bytes, or whatever `stream` writes."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    delay: float = 0.0
    raw: bytes | None = None
    stream: Callable[[asyncio.StreamWriter], Any] | None = None


def held(answer: Answer, go: threading.Event) -> Answer:
    """The same, once `go` is set."""

    async def send(writer: asyncio.StreamWriter) -> None:
        while not go.is_set():
            await asyncio.sleep(0.01)
        head = [f"{name}: {value}" for name, value in answer.headers.items()]
        length = f"Content-Length: {len(answer.body)}"
        writer.write(
            "\r\n".join([f"HTTP/1.1 {answer.status} X", *head, length, "", ""]).encode() + answer.body
        )
        await writer.drain()

    return Answer(stream=send)


class Loop:
    """An event loop in a thread."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()

    def run(self, coroutine: Any) -> Any:
        future: Future[Any] = asyncio.run_coroutine_threadsafe(coroutine, self.loop)
        return future.result(DEADLINE)

    def close(self) -> None:
        self.run(_end_the_others())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(DEADLINE)


async def _end_the_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


class Server:
    """An HTTP/1.1 server on a unix socket, or at an address: records what it reads, answers what `answer` says."""

    def __init__(self, loop: Loop, at: Path | tuple[str, int], context: ssl.SSLContext | None = None) -> None:
        self.loop, self.at, self.context = loop, at, context
        self.received: list[Received] = []
        self.connections = 0
        self.answer: Callable[[Received], Answer] = lambda _: Answer()
        self._server: asyncio.AbstractServer | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    def start(self) -> None:
        if isinstance(self.at, tuple):
            self._server = self.loop.run(asyncio.start_server(self._serve, *self.at, ssl=self.context))
            return
        self.at.unlink(missing_ok=True)
        self._server = self.loop.run(asyncio.start_unix_server(self._serve, self.at, ssl=self.context))
        self.at.chmod(0o666)

    def stop(self) -> None:
        """As if killed: nobody listens, every connection is gone."""
        server, self._server = self._server, None
        if server:
            self.loop.run(self._stop(server))

    async def _stop(self, server: asyncio.AbstractServer) -> None:
        server.close()
        for writer in list(self._writers):
            writer.transport.abort()
        if isinstance(self.at, Path):
            self.at.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            while await self._exchange(reader, writer):
                pass
        self._writers.discard(writer)
        writer.transport.abort() if self.context else writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = tuple((n, v.strip()) for n, _, v in (line.partition(":") for line in head[1:] if line))
        length = next((int(v) for n, v in headers if n.lower() == "content-length"), 0)
        body = await reader.readexactly(length)
        request = Received(head[0], headers, body, writer.get_extra_info("peercert"))
        self.received.append(request)
        answer = self.answer(request)
        await asyncio.sleep(answer.delay)
        return await self._send(writer, request, answer)

    async def _send(self, writer: asyncio.StreamWriter, request: Received, answer: Answer) -> bool:
        if answer.stream:
            await answer.stream(writer)
            return False
        if answer.raw is not None:
            writer.write(answer.raw)
            await writer.drain()
            return True
        bodiless = answer.status in (204, 304)
        length = {} if bodiless else {"Content-Length": str(len(answer.body))}
        head = [
            f"HTTP/1.1 {answer.status} X",
            *(f"{n}: {v}" for n, v in {**answer.headers, **length}.items()),
        ]
        body = b"" if bodiless or request.method == "HEAD" else answer.body
        writer.write("\r\n".join([*head, "", ""]).encode("latin-1") + body)
        await writer.drain()
        return True


# --- what the decision service says ---------------------------------------------------------------


def facts(**claims: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")


def permit(**changes: str) -> Answer:
    headers = {
        "X-Mw-Route": f"1000000|100 00 {GUARDS[0]}",
        "X-Mw-Times": "60 3600",
        "X-Mw-Limit": "",
        "X-Mw-Bucket": "0" * 32,
        "X-Mw-Txn-Token": "h." + secrets.token_hex(8) + ".s",
        "X-Mw-Ties": TIE,
        "X-Mw-Facts": facts(sub="okta:ann", model="minilm"),
        "X-Mw-Ttl": "30",
    }
    headers |= {f"X-{name.replace('_', '-').title()}": value for name, value in changes.items()}
    return Answer(200, {name: value for name, value in headers.items() if value is not None})


def refusal(
    status: int, reason: str, message: str = "No.", seen: int | None = None, expires: int = 0
) -> Answer:
    headers = {
        "X-Mw-Status": str(status),
        "X-Mw-Reason": reason,
        "X-Mw-Message": message,
        "X-Mw-Ttl": str(expires),
    }
    if status in (401, 403):
        headers["X-Mw-Challenge"] = f'Bearer resource_metadata="https://{HOST}/x", scope="minilm.infer"'
    return Answer(seen or (401 if status == 401 else 403), headers)


def who() -> Answer:
    """To the question who somebody is, below /v1/: it is known who, but not yet for which model."""
    answer = refusal(400, "body_model_missing", "Name a model.", seen=403, expires=30)
    return replace(answer, headers={**answer.headers, "X-Mw-Facts": facts(sub="okta:ann")})


def by_token(request: Received) -> Answer:
    """`Bearer ok…` may do all, any other credential nothing, none is asked for one."""
    credential = request.get("X-Mw-Authorization")
    if credential is None:
        return refusal(401, "no_credentials", "Send a token.")
    if not credential.startswith("Bearer "):
        return refusal(401, "not_bearer", "Send Bearer and a token.")
    if credential.startswith("Bearer ok"):
        return permit() if request.get("X-Mw-Model") else who()
    return refusal(403, "no_grant", "You may not.", expires=30)


# --- the client -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Response:
    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def get(self, name: str) -> str | None:
        found = [value for key, value in self.headers if key.lower() == name.lower()]
        assert len(found) < 2, f"{name} came twice: {found}"
        return found[0] if found else None

    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """One TLS connection; sends exactly the bytes it is given."""

    def __init__(
        self,
        port: int,
        root: Path,
        name: str | None = HOST,
        source: str = "127.0.0.1",
        certificate: bytes | None = None,
    ) -> None:
        """`certificate`: key and chain of a client certificate, PEM."""
        context = ssl.create_default_context(cafile=str(root))
        if certificate is not None:
            with tempfile.NamedTemporaryFile(suffix=".pem") as file:
                file.write(certificate)
                file.flush()
                context.load_cert_chain(file.name)
        context.check_hostname = name is not None
        plain = socket.create_connection(("127.0.0.1", port), DEADLINE, (source, 0))
        self.socket = context.wrap_socket(plain, server_hostname=name)
        self.serial = int(self.socket.getpeercert()["serialNumber"], 16)  # type: ignore[index, arg-type]
        self.buffer = b""

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def rest(self) -> bytes:
        """Everything until the server closes."""
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            while more := self.socket.recv(65536):
                self.buffer += more
        return self.buffer

    def _until(self, enough: Callable[[bytes], bool]) -> None:
        while not enough(self.buffer):
            more = self.socket.recv(65536)
            if not more:
                raise ConnectionError(f"closed early, after {self.buffer!r}")
            self.buffer += more

    def head(self) -> Response:
        self._until(lambda b: b"\r\n\r\n" in b)
        head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        headers = tuple((n, v.strip()) for n, _, v in (line.partition(":") for line in lines[1:]))
        return Response(int(lines[0].split(" ")[1]), headers, b"")

    def chunk(self) -> bytes:
        self._until(lambda b: b"\r\n" in b)
        size, _, self.buffer = self.buffer.partition(b"\r\n")
        length = int(size, 16)
        self._until(lambda b: len(b) >= length + 2)
        data, self.buffer = self.buffer[:length], self.buffer[length + 2 :]
        return data

    def response(self, method: str = "GET") -> Response:
        head = self.head()
        if method == "HEAD" or head.status in (204, 304):
            return head
        if head.get("Transfer-Encoding") == "chunked":
            body = b""
            while piece := self.chunk():
                body += piece
            return replace(head, body=body)
        length = int(head.get("Content-Length") or 0)
        self._until(lambda b: len(b) >= length)
        body, self.buffer = self.buffer[:length], self.buffer[length:]
        return replace(head, body=body)

    def request(
        self, method: str, target: str, token: str | None = "ok", body: bytes | None = None, **headers: str
    ) -> Response:
        self.send(message(method, target, token, body, **headers))
        return self.response(method)


def message(
    method: str, target: str, token: str | None = "ok", body: bytes | None = None, **headers: str
) -> bytes:
    lines = [f"{method} {target} HTTP/1.1"]
    if "Host" not in headers:
        lines.append(f"Host: {HOST}")
    if token is not None:
        lines.append(f"Authorization: Bearer {token}")
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b"")


def _complete(data: bytes) -> bool:
    head, _, body = data.partition(b"\r\n\r\n")
    length = head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]
    return len(body) >= int(length or 0)


# --- the edge -------------------------------------------------------------------------------------


class NotStarted(Exception):
    """nginx ended at once: what it said."""


class Edge:
    """nginx, its directories, its two neighbours."""

    def __init__(
        self,
        script: Callable[[str, str], str] = lambda _, text: text,
        *,
        starts: bool = True,
        patient: bool = True,
        **settings: Any,
    ) -> None:
        self.starts = starts  # whether a handshake can succeed
        self.patient = patient
        self.base = Path(tempfile.mkdtemp(prefix="mwe-", dir="/tmp"))
        self.base.chmod(0o711)
        self.run = self.base / "edge"
        self.said = self.base / "edge.log"  # as the supervisor keeps one of each part
        self.loop = Loop()
        self.pki = nginx_pki.Pki()
        self.epoch = 1
        self.generation = 0
        self.process: subprocess.Popen[bytes] | None = None
        self.settings = self._settings(settings)
        self._directories()
        self.decision = Server(self.loop, Path(self.settings.decision_socket))
        self.guards = {slot: self._guard(slot, name) for slot, name in GUARDS.items()}
        self._write(script)
        self.reset()

    def _settings(self, changes: dict[str, Any]) -> EdgeSettings:
        port = free_port()
        return EdgeSettings(
            **{
                "listen_host": "127.0.0.1",
                "listen_port": port,
                "hostname": HOST,
                "run_dir": str(self.run),
                "decision_socket": str(self.base / "decide.sock"),
                "control_socket": str(self.base / "control.sock"),
                "guard_socket": str(self.base / "{slot}.sock"),
                "root_bundle": str(self.run / "certs/root.pem"),
                "rates": ("2r/s", "600r/m", "3r/m"),
                "max_body": 200_000,
                "cold_rate": "900000r/s",  # the tests of this limit set their own: a fast machine met it in others
                "cold_burst": 5000,
                "longest_timeout": int(DEADLINE),
                **other_nginx.settings(),
                **changes,
            }
        )

    def _directories(self) -> None:
        for directory in (self.run, self.run / "certs", self.run / "lua/phases"):
            directory.mkdir(mode=0o700, parents=True)

    def _guard(self, slot: int, name: str) -> Server:
        return Server(self.loop, self.base / f"{slot:02d}.sock", self.pki.guard_context(name))

    def _write(self, script: Callable[[str, str], str]) -> None:
        for name, data in self.files(self.settings).items():
            self.put(name, script(name, data.decode()) if name.startswith("lua/") else data)
        self.put("certs/root.pem", self.pki.root_pem)
        self.put("certs/none.pem", placeholder_certificate().reveal())
        self.put("revoked", "end\n")
        self.put("page", page_bytes(self.epoch, 0))
        self.rotate()

    def files(self, settings: EdgeSettings) -> dict[str, bytes]:
        """The program, as patient as this edge is."""
        files = dict(edge_files(settings))
        if self.patient:
            files["nginx.conf"] = _SHORT.sub(rb"\1 %ds;" % DEADLINE, files["nginx.conf"])
        return files

    def _own(self) -> None:
        if os.geteuid() == 0:
            for path in {self.run, *self.run.rglob("*")} - {self.page.path}:  # which stays ours
                os.chown(path, EDGE_UID, EDGE_UID)

    def put(self, name: str, data: str | bytes) -> None:
        """A file that nginx can read from the first moment on."""
        write_atomic(self.run / name, data, 0o640, EDGE_UID if os.geteuid() == 0 else None)

    @property
    def page(self) -> EdgePage:
        return EdgePage.in_directory(self.run)

    def bump(self) -> None:
        """A new epoch, as after an accepted revision."""
        self.epoch = self.page.raise_epoch()

    def replace_page(self, content: bytes | None = None) -> None:
        """Another page in the place of this one, with the next epoch: not the one that workers have mapped."""
        self.epoch += 1
        self.put("page", page_bytes(self.epoch, self.generation) if content is None else content)

    def revoke(self, *ties: str, until: int = 0) -> None:
        """From now on these, and no others."""
        self.put("revoked", "".join(f"{tie} {until:010d}\n" for tie in sorted(ties)) + "end\n")
        self.bump()

    def rotate(self) -> None:
        """New certificates of a new intermediate: complete files first, then the pointer."""
        generation = self.generation + 1
        self.put(f"certs/web.{generation}.pem", self.pki.web_pem(HOST))
        self.put(f"certs/edge.{generation}.pem", self.pki.edge_pem(DOMAIN))
        self.page.show(generation)
        self.generation = generation

    def start(self) -> Edge:
        self.decision.start()
        for guard in self.guards.values():
            guard.start()
        self._own()
        who = {"user": EDGE_UID, "group": EDGE_UID, "extra_groups": []} if os.geteuid() == 0 else {}
        command = [nginx_binary(), "-e", "stderr", "-c", str(self.run / "nginx.conf")]
        with self.said.open("ab") as said:
            self.process = subprocess.Popen(command, umask=0o077, stderr=said, **who)  # type: ignore[call-overload]
        eventually(self._answers if self.starts else self._listens)
        return self

    def _listens(self) -> bool:
        self._require_alive()
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 10):
            return True
        return False

    def _answers(self) -> bool:
        self._require_alive()
        try:
            with self.client():
                return True
        except OSError:
            return False

    def _require_alive(self) -> None:
        assert self.process
        if self.process.poll() is not None:
            raise NotStarted(self.errors())

    def stop(self) -> None:
        if self.process:
            self.process.terminate()
            self.process.wait(DEADLINE)
        for server in (self.decision, *self.guards.values()):
            server.stop()
        self.loop.close()
        shutil.rmtree(self.base)

    def reset(self) -> None:
        """As new for the next test: no decision remembered, nothing recorded, everybody answers as usual."""
        for server in (self.decision, *self.guards.values()):
            server.received.clear()
            server.answer = lambda _: Answer(200, {"Content-Type": "application/json"}, b'{"ok":true}')
        self.decision.answer = by_token
        if not self.page.epoch:
            self.replace_page()
        self.revoke()

    def workers(self) -> set[int]:
        """The process ids of nginx' workers, those that end included."""
        assert self.process
        text = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return {int(pid) for pid in text.split()}

    @contextlib.contextmanager
    def without(self, workers: set[int]) -> Iterator[None]:
        """These workers stand still: the others take whatever comes."""
        try:
            for pid in workers:
                os.kill(pid, signal.SIGSTOP)
                eventually(lambda p=pid: _is_still(p), what="a worker that stands still")  # type: ignore[misc]
            yield
        finally:
            for pid in workers:
                os.kill(pid, signal.SIGCONT)

    @property
    def port(self) -> int:
        return self.settings.listen_port

    def client(
        self, name: str | None = HOST, source: str = "127.0.0.1", certificate: bytes | None = None
    ) -> Client:
        return Client(self.port, self.run / "certs/root.pem", name, source, certificate)

    def request(
        self, method: str, target: str, token: str | None = "ok", body: bytes | None = None, **headers: str
    ) -> Response:
        with self.client() as client:
            return client.request(method, target, token, body, **headers)

    def raw(self, data: bytes) -> bytes:
        """Everything the edge answers to these bytes on a connection of their own."""
        with self.client() as client:
            client.send(data)
            client.socket.settimeout(DEADLINE)
            with contextlib.suppress(TimeoutError, ConnectionError):
                client._until(lambda b: b.find(b"\r\n\r\n") >= 0 or (b[:4] not in (b"", b"HTTP")))
                client._until(_complete)
                client.socket.settimeout(0.03)  # a second answer, or the end
                client.rest()
            return client.buffer

    @property
    def guard(self) -> Server:
        return self.guards[0]

    def seen(self) -> list[Received]:
        """What reached any guard."""
        return [request for guard in self.guards.values() for request in guard.received]

    def lines(self) -> list[dict[str, Any]]:
        """The access log, every line of it parsed."""
        text = (self.run / "access.log").read_text(encoding="utf-8")
        return [json.loads(line) for line in text.splitlines()]

    def line(self, request_id: str | None) -> dict[str, Any]:
        found: list[dict[str, Any]] = eventually(lambda: [x for x in self.lines() if x["rid"] == request_id])
        assert len(found) == 1
        return found[0]

    def errors(self) -> str:
        return self.said.read_text(encoding="utf-8", errors="replace")


def _is_still(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def changed(module: str, name: str, how: str) -> Callable[[str, str], str]:
    """A change of the Lua: the function `name` of `module` begins with `how`."""
    head = re.compile(rf"^(?:local )?function (?:M[.:])?{re.escape(name)}\([^)]*\)\n", re.MULTILINE)

    def script(file: str, text: str) -> str:
        if file != f"lua/{module}.lua":
            return text
        found = head.search(text)
        assert found, f"no function {name} in {file}"
        return f"{text[: found.end()]}    do {how} end\n{text[found.end() :]}"

    return script


def throwing(module: str, name: str) -> Callable[[str, str], str]:
    return changed(module, name, "error('x', 0)")


@contextlib.contextmanager
def running(
    script: Callable[[str, str], str] = lambda _, text: text,
    *,
    starts: bool = True,
    patient: bool = True,
    **settings: Any,
) -> Iterator[Edge]:
    edge = Edge(script, starts=starts, patient=patient, **settings)
    try:
        yield edge.start()
    finally:
        edge.stop()
