"""Lines as the two proxies write them, and a place to write them to."""

from __future__ import annotations

import json
import secrets
import time
from base64 import urlsafe_b64encode
from pathlib import Path

from meshward.audit.lines import EdgeLine, GuardLine, parse

GUARD = "v1.minilm.mesh.example"
EDGE_ID = "spiffe://mesh.example/edge"
FACTS = {
    "sub": "okta:00u1",
    "roles": ["data-scientist"],
    "model": "minilm",
    "action": "infer",
    "perm": "minilm.infer",
    "grant": "ds-embeddings",
    "rev": "7",
    "txn": "0b5e8f7a-0000-4000-8000-000000000001",
    "ath": "abc",
}
DIGEST = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="


def new_rid() -> str:
    return secrets.token_hex(16)


def facts_text(**changes: object) -> str:
    return urlsafe_b64encode(json.dumps(FACTS | changes).encode()).rstrip(b"=").decode()


def edge_bytes(rid: str, **changes: str | None) -> bytes:
    """A permitted request, as nginx logs it."""
    values: dict[str, str | None] = {
        "v": "1", "hop": "edge", "rid": rid, "t": f"{time.time():.3f}", "ip": "127.0.0.1", "conn": "3",
        "creq": "1", "pid": "77", "method": "POST", "path": "/embed", "front": "m", "model": "minilm",
        "status": "200", "bytes": "4096", "bytes_in": "120", "dur": "0.012", "done": "OK", "last": "1",
        "reqd": DIGEST, "resd": DIGEST, "reason": "", "facts": facts_text(), "cache": "HIT", "guard": GUARD,
        "layer": "",
    }  # fmt: skip
    return json.dumps(values | changes, separators=(",", ":")).encode()


def guard_bytes(rid: str, **changes: str | None) -> bytes:
    """The same request, as its guard logs it."""
    values: dict[str, str | None] = {
        "v": "1", "hop": "guard", "rid": rid, "t": f"{time.time():.3f}", "conn": "9", "uid": "u-1",
        "method": "POST", "path": "/embed", "status": "200", "flags": "-", "details": "via_upstream",
        "bytes": "4096", "bytes_in": "120", "dur": "8", "peer": EDGE_ID, "serial": "0f", "sub": FACTS["sub"],
        "scope": FACTS["perm"], "grant": FACTS["grant"], "rev": FACTS["rev"], "txn": FACTS["txn"],
        "model": "minilm", "action": "infer", "told_reqd": f"sha-256=:{DIGEST}:", "guard": GUARD,
        "upstream": "/run/model.sock",
    }  # type: ignore[dict-item]  # fmt: skip
    return json.dumps(values | changes, separators=(",", ":")).encode()


def refused_bytes(rid: str, reason: str = "no_grant", **changes: str | None) -> bytes:
    """A verified identity that the edge refused."""
    values = {"status": "403", "reason": reason, "layer": "edge", "guard": ""}
    return edge_bytes(rid, **(values | changes))


def unknown_bytes(rid: str, reason: str = "no_credentials") -> bytes:
    """A refusal before there was an identity."""
    return refused_bytes(rid, reason, status="401", facts="")


def edge(rid: str, **changes: str | None) -> EdgeLine:
    (line,) = parse(edge_bytes(rid, **changes), "edge")
    assert isinstance(line, EdgeLine)
    return line


def guard(rid: str, **changes: str | None) -> GuardLine:
    (line,) = parse(guard_bytes(rid, **changes), "guard")
    assert isinstance(line, GuardLine)
    return line


class Mesh:
    """RUN and STATE with the logs of an edge and one guard, without the proxies."""

    def __init__(self, top: Path) -> None:
        self.run = top / "run"
        self.state = top / "state"
        self.edge_log = self.run / "edge" / "access.log"
        self.guard_log = self.run / "guards" / "00" / "access.log"
        for directory in (self.state, self.edge_log.parent, self.guard_log.parent):
            directory.mkdir(parents=True)

    def edge(self, *lines: bytes) -> None:
        append(self.edge_log, *lines)

    def guard(self, *lines: bytes) -> None:
        append(self.guard_log, *lines)


def append(path: Path, *lines: bytes) -> None:
    with path.open("ab") as file:
        file.write(b"".join(line + b"\n" for line in lines))
