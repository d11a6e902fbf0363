"""One instance for each module: two issuers, one of them by URL through a proxy that breaks; names that hold dots."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from meshward.testing.issuer import AUDIENCE, Issuer
from tests.stack import policies
from tests.stack.faultproxy import FaultProxy
from tests.stack.running import Stack, running

REMOTE = "https://remote.test"
KIND = {
    "infer": ["GET /v1/public", "POST /v1/public", "POST /v1/chat/completions"],
    "manage": ["GET /v1/secret", "POST /v1/secret"],
}


class KeyServer:
    """An issuer's key address: what it serves, and how often it was asked."""

    def __init__(self) -> None:
        self.signer = Issuer()
        self.asked = 0
        self.document = b""
        self.publish(first=self.signer)
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked += 1
                self.send_response(200)
                self.send_header("Content-Length", str(len(outer.document)))
                self.end_headers()
                self.wfile.write(outer.document)

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.proxy = FaultProxy(("127.0.0.1", self._server.server_port))

    def publish(self, **signers: Issuer) -> None:
        """Serve these keys, by `kid`, and no others."""
        keys = [signer.jwk(kid=kid) for kid, signer in signers.items()]
        self.document = json.dumps({"keys": keys}).encode()

    def token(self, subject: str, kid: str = "first", signer: Issuer | None = None, **claims: Any) -> str:
        """A token of this issuer, as good as its `kid`."""
        of = signer or self.signer
        return of.token(subject, ["team.io"], header={"kid": kid}, iss=REMOTE, **claims)

    def close(self) -> None:
        self._server.shutdown()
        self.proxy.close()


@pytest.fixture(scope="module")
def remote() -> Iterator[KeyServer]:
    server = KeyServer()
    yield server
    server.close()


def hardening_policy(jwks: Path, port: int, sockets: dict[str, Path], keys: str) -> dict[str, Any]:
    """`team` may use the public routes. `one` is a single person; `mail` is whoever has one address."""
    base = policies.base(jwks, port)
    base["issuers"]["remote"] = {
        "profile": "oidc",
        "issuer": REMOTE,
        "audience": AUDIENCE,
        "groups": "/groups",
        "jwks": {"url": keys, "allow": ["http"]},
    }
    models = {
        key.split("/")[0]: {"versions": {"v1": {"server": "twofaced", "url": f"unix:{path}"}}}
        for key, path in sockets.items()
    }
    infer = {"models": "all", "actions": ["infer"]}
    return base | {
        "servers": {"twofaced": KIND},
        "models": models,
        "roles": {
            "team": [{"issuer": "test", "group": "team.io"}, {"issuer": "remote", "group": "team.io"}],
            "one": [{"issuer": "test", "subject": "sam.1"}],
            "mail": [{"issuer": "test", "claims": {"email": "a@corp.test"}}],
        },
        "grants": [
            {"id": "use", "roles": ["team"], **infer},
            {"id": "rule", "roles": ["one"], "models": "all", "actions": ["manage"]},
            {"id": "by-mail", "roles": ["mail"], **infer},
        ],
    }


@pytest.fixture(scope="module")
def stack(short_dir: Path, remote: KeyServer) -> Iterator[Stack]:
    def write(jwks: Path, port: int, directory: Path) -> dict[str, Path]:
        sockets = {"m.1/v1": directory / "1.sock", "mx1/v1": directory / "2.sock"}
        keys = f"http://127.0.0.1:{remote.proxy.port}/keys"
        policies.write(directory, hardening_policy(jwks, port, sockets, keys))
        return sockets

    with running(short_dir, write) as started:
        yield started


@pytest.fixture
def ann(stack: Stack) -> str:
    """A good token for the public routes; nothing is left from earlier tests."""
    stack.taken()
    return stack.issuer.token("ann", ["team.io"])
