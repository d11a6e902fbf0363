"""An instance with twenty models at work: 300 requests per second of good traffic and 50 open streams."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.stack import policies
from tests.stack.issuer import TestIssuer
from tests.stack.running import SERVERS_GID

from bench import requests
from bench.load import once
from bench.mixed import Job
from bench.processes import BenchError, free_port, running
from meshward.apply.control import ask
from meshward.policy.parse import Source, parse, to_json

MODELS, RATE, STREAMS, CALLERS = 20, 300, 50, 5
SPLIT = "m00"  # the model with two versions
SECRET = "BENCH_SECRET"


@dataclass(frozen=True)
class Busy:
    """A running instance and the process that loads it. `text` is the first policy, as data."""

    state: Path
    port: int
    issuer: TestIssuer
    text: dict[str, Any]
    client: subprocess.Popen[str]

    def change(self, request: dict[str, Any]) -> dict[str, Any]:
        """Ask the instance, as its commands do. Raises MeshwardError."""
        return ask(self.state, request, lambda _: None)

    def apply(self, text: dict[str, Any]) -> dict[str, Any]:
        policy = parse([Source("bench", json.dumps(text).encode())]).policy
        return self.change({"do": "apply", "policy": to_json(policy), "reason": "bench"})

    def status(self, subject: str, group: str, model: str) -> int:
        """What the edge answers to a caller of its own, on a new connection."""
        token = self.issuer.token(subject, [group])
        request = requests.post(f"/m/{model}/embed", requests.prompt(), {"Authorization": f"Bearer {token}"})
        return once(self.port, request)[0]

    def mark(self) -> dict[str, Any]:
        """What the load saw since the last time (`mixed.Seen`)."""
        assert self.client.stdin and self.client.stdout
        self.client.stdin.write("mark\n")
        self.client.stdin.flush()
        line = self.client.stdout.readline()
        if not line:
            raise BenchError("the load has ended")
        seen: dict[str, Any] = json.loads(line)
        return seen


@contextmanager
def busy(directory: Path) -> Iterator[Busy]:
    """All of it, once every stream is open and nothing fails."""
    issuer, port, state = TestIssuer(), free_port(), directory / "s"
    issuer.write_jwks(directory / "jwks.json")
    text = policy(directory, port)
    (directory / "policy.yaml").write_text(json.dumps(text))
    log, models = directory / "up.log", directory / "models.log"
    argv = [sys.executable, "-m", "meshward", "up", str(directory / "policy.yaml"), "--state", str(state)]
    gid = str(SERVERS_GID) if os.geteuid() == 0 else "-"
    sockets = [url.removeprefix("unix:") for url in _urls(directory)]
    model = [sys.executable, "-m", "bench.streaming", gid, *sockets]
    environment = {**os.environ, SECRET: "a-secret-of-the-bench"}
    with (
        running(model, lambda: "serving" in models.read_text(), models),
        running(argv, lambda: "ready: " in log.read_text(), log, env=environment),
        _loaded(_job(port, issuer)) as client,
    ):
        found = Busy(state, port, issuer, text, client)
        _settle(found)
        yield found


def policy(directory: Path, port: int) -> dict[str, Any]:
    """Twenty models, of which the first has two versions; users may use all, sales none, at a limit never met."""
    urls = _urls(directory)
    models = {
        f"m{number:02d}": {"versions": {"v1": {"server": "mock", "url": url}}}
        for number, url in enumerate(urls[:MODELS])
    }
    models[SPLIT]["versions"]["v2"] = {"server": "mock", "url": urls[MODELS + 1], "credential": "bench"}
    models[SPLIT]["traffic"] = {"v1": 90, "v2": 10}
    limits = [{"requests": "50000/s"}, {"requests": "40000/s"}]
    return policies.base(directory / "jwks.json", port) | {
        "credentials": {"bench": {"from": "env", "name": SECRET}},
        "servers": {"mock": {"infer": ["POST /embed", "POST /v1/chat/completions"]}},
        "models": models,
        "roles": {"user": _group("users"), "sales": _group("sales")},
        "grants": [
            {"id": "all", "roles": ["user"], "models": "all", "actions": ["infer"], "limits": limits[0]},
            {"id": "few", "roles": ["user"], "models": ["m01"], "actions": ["infer"], "limits": limits[1]},
        ],
    }  # fmt: skip


def another_model(text: dict[str, Any], directory: Path) -> dict[str, Any]:
    """`text` with one model more."""
    more = copy.deepcopy(text)
    more["models"][f"m{MODELS}"] = {"versions": {"v1": {"server": "mock", "url": _urls(directory)[MODELS]}}}
    return more


def _urls(directory: Path) -> list[str]:
    return [f"unix:{directory}/{number:02d}.sock" for number in range(MODELS + 2)]


def _group(name: str) -> list[dict[str, str]]:
    return [{"issuer": "test", "group": name}]


def _job(port: int, issuer: TestIssuer) -> Job:
    hour = int(time.time()) + 3600
    tokens = [issuer.token(f"caller{number}", ["users"], exp=hour) for number in range(CALLERS)]
    names = [f"m{number:02d}" for number in range(MODELS)]
    streams = [f"/m/{names[number % MODELS]}/v1/chat/completions" for number in range(STREAMS)]
    return Job(port, RATE, tokens, [f"/m/{name}/embed" for name in names], streams)


@contextmanager
def _loaded(job: Job) -> Iterator[subprocess.Popen[str]]:
    argv = [sys.executable, "-m", "bench.mixed"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as client:
        assert client.stdin
        client.stdin.write(json.dumps(asdict(job)) + "\n")
        client.stdin.flush()
        try:
            yield client
        finally:
            client.kill()


def _settle(found: Busy) -> None:
    """Until all streams are open; nothing may have failed by then."""
    deadline = time.monotonic() + 30
    while (seen := found.mark())["open"] < STREAMS:
        if seen["failed"] or time.monotonic() > deadline:
            raise BenchError(f"the load is not served: {seen}")
        time.sleep(0.5)
