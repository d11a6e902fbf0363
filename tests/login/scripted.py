"""An issuer (or edge) on loopback that answers what a test tells it to, however wrong."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl


@dataclass
class Asked:
    method: str
    path: str
    headers: Mapping[str, str]
    form: dict[str, str]


Answer = tuple[int, Mapping[str, str], bytes]


def answer(status: int, value: Any = None, **headers: str) -> Answer:
    body = value if isinstance(value, bytes) else json.dumps(value if value is not None else {}).encode()
    return status, {"Content-Type": "application/json", **headers}, body


@dataclass
class Scripted:
    url: str = ""
    asked: list[Asked] = field(default_factory=list)
    answers: dict[str, Callable[[Asked], Answer] | Answer] = field(default_factory=dict)  # by path

    def discovery(self, **changes: Any) -> None:
        """A good discovery document, with `changes`; None takes a member out."""
        document = {
            "issuer": self.url,
            "token_endpoint": f"{self.url}/token",
            "device_authorization_endpoint": f"{self.url}/device_authorization",
            "authorization_endpoint": f"{self.url}/authorize",
            "revocation_endpoint": f"{self.url}/revoke",
        } | changes
        kept = {name: value for name, value in document.items() if value is not None}
        self.answers["/.well-known/openid-configuration"] = answer(200, kept)

    def posts(self, path: str) -> list[dict[str, str]]:
        return [asked.form for asked in self.asked if (asked.method, asked.path) == ("POST", path)]


@contextmanager
def scripted() -> Iterator[Scripted]:
    script = Scripted()

    class Handler(BaseHTTPRequestHandler):
        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
            asked = Asked(self.command, self.path, dict(self.headers), dict(parse_qsl(body)))
            script.asked.append(asked)
            found = script.answers.get(self.path, answer(404))
            status, headers, payload = found(asked) if callable(found) else found
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(payload))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(payload)

        do_GET = do_POST = _serve

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    script.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield script
    finally:
        server.shutdown()
        server.server_close()
