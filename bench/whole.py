"""The full side: a real instance by `meshward up`, with one model twice, and the proof that its layers are on."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.stack import policies

from bench import requests
from bench.load import Target
from bench.mock import Mock
from bench.processes import BenchError, Meter, running, wait_for, widen
from meshward.audit.records import Records
from meshward.audit.store import Store
from meshward.plan.ir import Plan
from meshward.plan.resolve import resolve
from meshward.policy.parse import Source, parse
from meshward.runtime.place.directories import Run
from meshward.runtime.place.instance_file import Instance, load_instance
from meshward.spiffe.ca import Authority
from meshward.spiffe.ca import load_or_create as load_authority
from meshward.testing.instance import START
from meshward.testing.issuer import Issuer
from meshward.testing.stand_ins import free_port

PARTS = ("edge", "guard", "decide", "collector")
ROUTES = ("/embed", "/v1/chat/completions", "/v1/completions", "/v1/embeddings")
RATE = 100_000  # requests per second and identity: counted at both hops, never reached


@dataclass(frozen=True)
class Whole:
    """A running instance with one nginx worker. `mock` is reached by a unix socket, `mock-tcp` by a port."""

    state: Path
    port: int
    issuer: Issuer
    plan: Plan
    token: str

    @property
    def instance(self) -> Instance:
        return load_instance(self.state)

    @property
    def run(self) -> Run:
        return Run(Path(self.instance.run))

    @property
    def authority(self) -> Authority:
        return load_authority(self.state / "ca", self.plan.trust_domain)

    def roots(self, model: str = "mock") -> dict[str, int]:
        """The process of each part that serves `model`."""
        parts = {p["name"]: p["pid"] for p in json.loads((self.state / "status.json").read_text())["parts"]}
        guard = next(
            pid for name, pid in parts.items() if name.startswith("guard-") and name.endswith(f"-{model}-v1")
        )
        return {
            "edge": parts["edge"],
            "guard": guard,
            "decide": parts["decide"],
            "collector": parts["collector"],
        }

    def target(self, directory: Path, model: str, path: str, body: bytes) -> Target:
        file = directory / f"whole-{model}-{path.count('/')}.request"
        file.write_bytes(requests.post(path, body, {"Authorization": f"Bearer {self.token}"}))
        return Target(self.port, file, Meter(self.roots(model)))


def _policy(jwks: Path, port: int, mock: Mock) -> dict[str, Any]:
    def model(url: str) -> dict[str, Any]:
        return {"versions": {"v1": {"server": "mock", "url": url}}}

    return policies.base(jwks, port) | {
        "servers": {"mock": {"infer": [f"POST {route}" for route in ROUTES]}},
        "models": {"mock": model(f"unix:{mock.socket}"), "mock-tcp": model(f"http://127.0.0.1:{mock.port}")},
        "roles": {"scientist": [{"issuer": "test", "group": "scientists"}]},
        "grants": [
            {
                "id": "science",
                "roles": ["scientist"],
                "models": "all",
                "actions": ["infer"],
                "limits": {"requests": f"{RATE}/s"},
            }
        ],
    }


@contextmanager
def whole_instance(directory: Path, mock: Mock) -> Iterator[Whole]:
    """`meshward up`, started where it sees one CPU (so with one nginx worker), then let loose on all."""
    issuer, port, state = Issuer(), free_port(), directory / "s"
    issuer.write_jwks(directory / "jwks.json")
    policy = directory / "policy.yaml"
    policy.write_text(json.dumps(_policy(directory / "jwks.json", port, mock)))
    plan = resolve(parse([Source("policy.yaml", policy.read_bytes())]).policy)
    log = directory / "up.log"
    argv = [sys.executable, "-m", "meshward", *START, str(policy), "--state", str(state)]
    with running(argv, lambda: "ready: " in log.read_text(), log, preexec_fn=_one_cpu) as process:
        widen(process.pid)
        whole = Whole(state, port, issuer, plan, requests.token(issuer))
        _prove(whole, directory)
        yield whole


def _one_cpu() -> None:
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def _prove(whole: Whole, directory: Path) -> None:
    """That this is the full path: what it refuses, and what it wrote down about what it served."""
    target = whole.target(directory, "mock", "/m/mock/embed", requests.prompt())
    status, answer = target.once()
    if status != 200 or requests.embedding() not in answer:
        raise BenchError(f"the full path does not serve: {answer[:500]!r}")
    refused, _ = target.once(requests.post("/m/mock/embed", requests.prompt(), {}))
    if refused != 401:
        raise BenchError(f"without a token the full path answers {refused}, not 401")
    found = re.search(rb"(?i)^x-request-id: ([0-9a-f]{32})", answer, re.MULTILINE)
    if not found:
        raise BenchError(f"the full path names no request: {answer[:500]!r}")
    records = Store.read_only(whole.state)
    try:
        wait_for(lambda: _whole(records, found[1].decode()), "a record in which both hops agree", within=10.0)
    finally:
        records.close()


def _whole(records: Records, rid: str) -> bool:
    """Whether the record of `rid` has both hops' lines, the identity, and both digests."""
    return any(
        record.agrees and not record.waiting and record.guard and record.guard.sub == "test:alice"
        and record.edge and record.edge.reqd and record.edge.resd
        for record in records.records(rid)
    )  # fmt: skip
