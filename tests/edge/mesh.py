"""A small mesh in a directory: a policy, live file, keys, an issuer that signs tokens, and a way to ask."""

from __future__ import annotations

import base64
import json
import os
import socket
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from meshward.callers.revocations import Revoked
from meshward.callers.revocations import save_text as revoked_text
from meshward.edge.instance_view import InstanceView, save_text
from meshward.kit.canonical import canonical_json
from meshward.policy.schema import Policy
from meshward.testing.issuer import Issuer
from meshward.testing.waiting import eventually
from meshward.tokens.key_store import load_or_create

ISSUER = "https://idp.test/realm"
AUDIENCE = "models"
POLICY: dict[str, Any] = {
    "version": 1,
    "trust_domain": "mesh.test",
    "edge": {"hostname": "models.test"},
    "issuers": {"corp": {"profile": "oidc", "issuer": ISSUER, "audience": AUDIENCE}},
    "roles": {
        "scientist": [{"issuer": "corp", "group": "science"}],
        "platform": [{"issuer": "corp", "group": "platform"}],
    },
    "models": {
        "minilm": {
            "labels": {"data": "public"},
            "aliases": ["Org/MiniLM"],
            "versions": {
                "v1": {"server": "mine", "url": "unix:/run/a.sock"},
                "v2": {"server": "mine", "url": "unix:/run/b.sock"},
                "v3": {"server": "mine", "url": "unix:/run/c.sock"},
            },
            "traffic": {"v1": 90, "v2": 10},
            "max_body": "1m",
        },
        "other": {"versions": {"v1": {"server": "mine", "url": "unix:/run/d.sock"}}},
    },
    "servers": {"mine": {"infer": ["POST /embed", "POST /v1/embeddings"], "manage": ["POST /unload"]}},
    "grants": [
        {
            "id": "science",
            "roles": ["scientist"],
            "models": ["minilm"],
            "actions": ["infer"],
            "limits": {"requests": "600/min"},
        },
        {"id": "all", "roles": ["platform"], "models": "all", "actions": ["infer", "manage"]},
    ],
}
LIVE = InstanceView(
    revision=7,
    audience="mesh.test",
    origin="https://models.test:8443",
    slots={"minilm/v1": "00", "minilm/v2": "01", "minilm/v3": "02", "other/v1": "03"},
    policy="",
    until="",
)


@dataclass
class Mesh:
    """RUN/decide in `directory`, and the issuer whose keys it reads from a file."""

    directory: Path
    issuer: Issuer = field(default_factory=lambda: Issuer(ISSUER, AUDIENCE, client=None))

    def write(self, policy: dict[str, Any] | None = None, live: InstanceView = LIVE) -> None:
        jwks = self.directory / "jwks.json"
        self.issuer.write_jwks(jwks)
        value = json.loads(json.dumps(policy or POLICY))
        for issuer in value["issuers"].values():
            issuer["jwks"] = {"file": str(jwks)}
        parsed = Policy.model_validate(value)
        text = canonical_json(parsed.model_dump(mode="json", by_alias=True))
        (self.directory / "policy.json").write_text(text)
        (self.directory / "live.json").write_text(save_text(live))
        (self.directory / "revocations.json").write_text(revoked_text(Revoked()))
        load_or_create(self.directory / "keys")


@dataclass
class Asker:
    """nginx, as far as the service can see it."""

    socket: Path

    def __post_init__(self) -> None:
        transport = httpx2.HTTPTransport(uds=str(self.socket))
        self._client = httpx2.Client(
            transport=transport, base_url="http://decide", trust_env=False, timeout=60
        )

    def get(self, path: str) -> httpx2.Response:
        return self._client.get(path)

    def ask(self, token: str | None = None, **over: str | None) -> httpx2.Response:
        headers = {
            "x-mw-authorization": None if token is None else f"Bearer {token}",
            "x-mw-method": "POST",
            "x-mw-model": "minilm",
            "x-mw-path": "/embed",
            "x-mw-front": "m",
            "x-mw-addr": "203.0.113.9",
        } | {f"x-mw-{name}": value for name, value in over.items()}
        return self._client.get("/decide", headers={k: v for k, v in headers.items() if v is not None})

    def raw(self, request: bytes) -> bytes:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(60)
            connection.connect(str(self.socket))
            connection.sendall(request)
            return connection.recv(65536)


def facts(response: httpx2.Response) -> dict[str, Any]:
    text = response.headers["x-mw-facts"]
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    return found


@contextmanager
def running(directory: Path, *arguments: str) -> Any:
    """The service as its supervisor runs it; its stderr goes to `directory`/stderr."""
    place = directory / "decide.sock"
    with (directory / "stderr").open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "meshward.edge", "--dir", str(directory), *arguments],
            stderr=stderr,
            env={
                "PATH": os.environ["PATH"],
                **{k: v for k, v in os.environ.items() if k.startswith("PYTHON")},
            },
        )
    eventually(lambda: place.exists() or process.poll() is not None)
    assert process.poll() is None, (directory / "stderr").read_text()
    try:
        yield process, Asker(place)
    finally:
        process.terminate()
        assert process.wait(60) == 0
