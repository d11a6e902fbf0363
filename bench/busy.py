"""An instance at work: good traffic of several callers to all of its models, and streams that nobody ends."""

from __future__ import annotations

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
from tests.stack.asking import ask

from bench import requests
from bench.load import once
from bench.mixed import Job
from bench.processes import START_WITHIN, BenchError, running
from meshward.policy.parse import Source, parse, to_json
from meshward.testing.instance import START
from meshward.testing.issuer import Issuer
from meshward.testing.recorder import SERVERS_GID
from meshward.testing.stand_ins import free_port

CALLERS = 5
SPLIT = "m00"  # the model with two versions
SECRET = "BENCH_SECRET"


@dataclass(frozen=True, slots=True)
class Size:
    """How many models, requests per second, and open streams. `keyed`: the second version's guard sends a key."""

    models: int
    rate: int
    streams: int
    keyed: bool = False


@dataclass(frozen=True)
class Busy:
    """A running instance and the process that loads it. `text` is the first policy, as data."""

    directory: Path
    size: Size
    state: Path
    port: int
    issuer: Issuer
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

    def url(self, number: int) -> str:
        """Of the model number `number`; also of one more than the policy has."""
        return _urls(self.directory, self.size)[number]

    def pid(self, part: str) -> int:
        """The process of the part whose name holds `part`; 0 while it has none."""
        parts = json.loads((self.state / "status.json").read_text())["parts"]
        return next((each["pid"] or 0 for each in parts if part in each["name"]), 0)

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
def busy(directory: Path, size: Size) -> Iterator[Busy]:
    """All of it, once every stream is open and nothing fails."""
    issuer, port, state = Issuer(), free_port(), directory / "s"
    issuer.write_jwks(directory / "jwks.json")
    text = policy(directory, port, size)
    (directory / "policy.yaml").write_text(json.dumps(text))
    log, models = directory / "up.log", directory / "models.log"
    argv = [sys.executable, "-m", "meshward", *START, str(directory / "policy.yaml"), "--state", str(state)]
    gid = str(SERVERS_GID) if os.geteuid() == 0 else "-"
    sockets = [url.removeprefix("unix:") for url in _urls(directory, size)]
    model = [sys.executable, "-m", "bench.streaming", gid, *sockets]
    environment = {**os.environ, SECRET: "a-secret-of-the-bench"}
    with (
        running(model, lambda: "serving" in models.read_text(), models),
        running(argv, lambda: "ready: " in log.read_text(), log, env=environment),
        _loaded(_job(port, issuer, size)) as client,
    ):
        found = Busy(directory, size, state, port, issuer, text, client)
        _settle(found)
        yield found


def policy(directory: Path, port: int, size: Size) -> dict[str, Any]:
    """The first model has two versions; users may use all, sales none, at a limit never met."""
    urls = _urls(directory, size)
    models: dict[str, Any] = {
        f"m{number:02d}": {"versions": {"v1": {"server": "mock", "url": url}}}
        for number, url in enumerate(urls[: size.models])
    }
    models[SPLIT]["versions"]["v2"] = {"server": "mock", "url": urls[size.models + 1]}
    if size.keyed:
        models[SPLIT]["versions"]["v2"]["credential"] = "bench"
    models[SPLIT]["traffic"] = {"v1": 90, "v2": 10}
    limits = [{"requests": "50000/s"}, {"requests": "40000/s"}]
    return policies.base(directory / "jwks.json", port) | {
        "credentials": {"bench": {"from": "env", "name": SECRET}} if size.keyed else {},
        "servers": {"mock": {"infer": ["POST /embed", "POST /v1/chat/completions"]}},
        "models": models,
        "roles": {"user": _group("users"), "sales": _group("sales")},
        "grants": [
            {"id": "all", "roles": ["user"], "models": "all", "actions": ["infer"], "limits": limits[0]},
            {"id": "few", "roles": ["user"], "models": ["m01"], "actions": ["infer"], "limits": limits[1]},
        ],
    }  # fmt: skip


def _urls(directory: Path, size: Size) -> list[str]:
    """One for each model, one more, and one for the second version of the first."""
    return [f"unix:{directory}/{number:02d}.sock" for number in range(size.models + 2)]


def _group(name: str) -> list[dict[str, str]]:
    return [{"issuer": "test", "group": name}]


def _job(port: int, issuer: Issuer, size: Size) -> Job:
    hour = int(time.time()) + 3600
    tokens = [issuer.token(f"caller{number}", ["users"], exp=hour) for number in range(CALLERS)]
    names = [f"m{number:02d}" for number in range(size.models)]
    streams = [f"/m/{names[number % size.models]}/v1/chat/completions" for number in range(size.streams)]
    return Job(port, size.rate, tokens, [f"/m/{name}/embed" for name in names], streams)


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
    deadline = time.monotonic() + START_WITHIN
    while (seen := found.mark())["open"] < found.size.streams:
        if seen["failed"] or time.monotonic() > deadline:
            raise BenchError(f"the load is not served: {seen}")
        time.sleep(0.5)
