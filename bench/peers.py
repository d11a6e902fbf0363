"""Two gateways that people use for the same job, before the same model, beside the full path: LiteLLM and Portkey.

Each runs as its own documentation says it is fastest, in an environment of its own, bound to loopback. They do other
things than meshward and check less: what each checks stands beside its figure.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import requests
from bench.figures import Sample, middle, shown, spread
from bench.load import CONNECTIONS, Target
from bench.machine import served_first
from bench.mock import Mock, mock_model
from bench.processes import BenchError, Memory, Meter, accepts, descendants, memory, running
from bench.report import Section, prose, say, table
from bench.whole import whole_instance
from meshward.testing.stand_ins import free_port

BUSY, PACED, PACE = 3, 4.0, 20  # seconds of a round, requests per second
ROUTE = "/v1/chat/completions"
LITELLM, PORTKEY = "litellm[proxy]", "@portkey-ai/gateway@1.15.2"
_KEY = "sk-bench-static-key"  # LiteLLM's own; guards nothing


@dataclass(frozen=True)
class Contestant:
    """A gateway. `run` starts it before a mock model and yields where to send what, and its processes."""

    name: str
    settings: str
    checks: str
    leaves_out: str
    run: Callable[[Path, Mock], AbstractContextManager[tuple[Target, list[int]]]]


@dataclass(frozen=True)
class Found:
    version: str
    busy: list[Sample]
    paced: list[Sample]
    memory: Memory


def contestants(peers: Path) -> list[Contestant]:
    return [
        Contestant(
            "meshward",
            "`meshward up`, one nginx worker, one Envoy worker; decision service and collector counted too",
            "TLS; the token's signature, issuer, audience, time; role x model x action x route at two hops; "
            "a limit per person; a record of each request",
            "tokens counted, spend, retries, fallbacks, translation between providers",
            _meshward,
        ),
        Contestant(
            "LiteLLM",
            "one worker, `--run_granian`, `LITELLM_MODE=PRODUCTION`, log level ERROR, local price list, "
            "no callbacks, no retries, no database; "
            "`LITELLM_RUST=true`, which its own rollout table keeps from this route",
            "one static key, the same for everybody; the model's name",
            "who is calling (people, roles, routes: with a database), TLS, limits, a record of each request",
            lambda directory, mock: _litellm(directory, mock, peers / "litellm"),
        ),
        Contestant(
            "Portkey gateway",
            "`NODE_ENV=production`, `--headless`, one process, provider and host named by the request's headers",
            "that the headers name a provider, and a custom host that is trusted (loopback is)",
            "who is calling: the key is passed on unread; TLS, limits, roles, a record of each request",
            lambda directory, mock: _portkey(directory, mock, peers / "portkey"),
        ),
    ]


def measure(directory: Path, rounds: int, peers: Path) -> Section:
    """All of them in turn, each alone on the machine with the model and the load."""
    found: dict[str, Found] = {}
    absent: dict[str, str] = {}
    everybody = contestants(peers)
    with served_first() as how, mock_model(directory) as mock:
        for each in everybody:
            try:
                found[each.name] = _measured(each, directory, mock, rounds, peers)
            except (BenchError, OSError, subprocess.SubprocessError) as error:
                absent[each.name] = str(error).strip().splitlines()[0][:200]
                say(f"peers, {each.name}: {error}")
    return Section(
        "peers", "Beside other gateways", _lines(everybody, found, absent, f"{rounds} rounds, {how}")
    )


def _measured(each: Contestant, directory: Path, mock: Mock, rounds: int, peers: Path) -> Found:
    busy, paced = [], []
    with each.run(directory, mock) as (target, roots):
        status, answer = target.once()
        if status != 200 or b"chat.completion" not in answer:
            raise BenchError(f"{each.name} does not serve {ROUTE}: {answer[:300]!r}")
        rust = b"x-litellm-rust: true" in answer.lower()
        target.busy(2)
        for number in range(rounds):
            busy.append(target.busy(BUSY))
            paced.append(target.paced(PACE, PACED))
            say(f"peers, {each.name} {number + 1}/{rounds}: {busy[-1].total():.0f} us, {busy[-1].rate:.0f}/s")
        held = memory(pid for root in roots for pid in descendants(root))
    return Found(_version(each.name, peers) + (", Rust path" if rust else ""), busy, paced, held)


def _lines(
    everybody: list[Contestant], found: dict[str, Found], absent: dict[str, str], how: str
) -> list[str]:
    head = [
        "gateway",
        "version",
        "CPU us/request, busy",
        "+-",
        "requests/s",
        f"CPU us/request at {PACE}/s",
        f"p50 ms at {PACE}/s",
        "PSS MB",
    ]
    rows = [_row(each.name, found.get(each.name), absent.get(each.name, "")) for each in everybody]
    about = [[each.name, each.checks, each.leaves_out, each.settings] for each in everybody]
    return [
        *table(head, rows),
        "",
        *table(["gateway", "what it checks in this run", "what it does not", "settings"], about),
        "",
        *prose(
            f"`POST {ROUTE}`, a prompt and an answer of 1 KB, the same mock model on 127.0.0.1, {CONNECTIONS}",
            f"connections, medians of {how}. CPU is user and system time of all processes of a gateway.",
            "meshward's clients come by TLS and with an 800-byte token, the others' by plain HTTP, with a short key.",
            "The others can translate between providers and count tokens, which this run does not need.",
        ),
    ]


def _row(name: str, found: Found | None, why: str) -> list[str]:
    if found is None:
        return [name, f"not measured: {why}", *[""] * 6]
    cpu = [sample.total() for sample in found.busy]
    numbers = [
        middle(cpu), spread(cpu), middle(s.rate for s in found.busy),
        middle(s.total() for s in found.paced), middle(s.p50 for s in found.paced), found.memory.pss,
    ]  # fmt: skip
    return [name, found.version, *map(shown, numbers)]


def _version(name: str, peers: Path) -> str:
    if name == "LiteLLM":
        argv = [
            str(peers / "litellm/bin/python"),
            "-c",
            "import importlib.metadata as m; print(m.version('litellm'))",
        ]
        return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()
    if name == "Portkey gateway":
        return str(json.loads((peers / "portkey" / _PORTKEY_HOME / "package.json").read_text())["version"])
    from importlib.metadata import version

    return version("meshward")


@contextmanager
def _meshward(directory: Path, mock: Mock) -> Iterator[tuple[Target, list[int]]]:
    with whole_instance(directory, mock) as whole:
        yield (
            whole.target(directory, "mock-tcp", ROUTE, requests.chat("mock-tcp")),
            list(whole.roots("mock-tcp").values()),
        )


@contextmanager
def _litellm(directory: Path, mock: Mock, home: Path) -> Iterator[tuple[Target, list[int]]]:
    if not (home / "bin" / "litellm").exists():
        _run([sys.executable, "-m", "venv", str(home)])
        _run(
            [
                str(home / "bin/python"),
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
                LITELLM,
            ]
        )
    served = {"model": "openai/mock", "api_base": f"http://127.0.0.1:{mock.port}/v1", "api_key": "none"}
    config = directory / "litellm.yaml"  # JSON is YAML
    config.write_text(
        json.dumps(
            {
                "model_list": [{"model_name": "mock", "litellm_params": served}],
                "litellm_settings": {
                    "callbacks": [],
                    "num_retries": 0,
                    "request_timeout": 30,
                    "set_verbose": False,
                },
                "general_settings": {"master_key": _KEY, "disable_spend_logs": True},
            }
        )
    )
    settings = {
        "LITELLM_MODE": "PRODUCTION",
        "LITELLM_LOG": "ERROR",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_RUST": "true",
    }
    port = free_port()
    argv = [str(home / "bin/litellm"), "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
    argv += ["--num_workers", "1", "--run_granian"]
    headers = {"Authorization": f"Bearer {_KEY}"}
    with _served(argv, directory / "litellm.log", port, settings, headers) as served_at:
        yield served_at


_PORTKEY_HOME = "node_modules/@portkey-ai/gateway"
# It listens on every address and has no option for that.
_LOOPBACK = """const net = require('net'), listen = net.Server.prototype.listen;
net.Server.prototype.listen = function (port, ...rest) {
  return typeof port === 'number' || typeof port === 'string'
    ? listen.call(this, {port: Number(port), host: '127.0.0.1'}, ...rest.filter((each) => typeof each === 'function'))
    : listen.call(this, typeof port === 'object' && port !== null ? {...port, host: '127.0.0.1'} : port, ...rest);
};
"""


@contextmanager
def _portkey(directory: Path, mock: Mock, home: Path) -> Iterator[tuple[Target, list[int]]]:
    if not (home / _PORTKEY_HOME).exists():
        home.mkdir(parents=True, exist_ok=True)
        _run(["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(home), PORTKEY])
    (directory / "loopback.cjs").write_text(_LOOPBACK)
    port = free_port()
    start = home / _PORTKEY_HOME / "build/start-server.js"
    argv = ["node", "--require", str(directory / "loopback.cjs"), str(start), f"--port={port}", "--headless"]
    headers = {
        "Authorization": f"Bearer {_KEY}",
        "x-portkey-provider": "openai",
        "x-portkey-custom-host": f"http://127.0.0.1:{mock.port}/v1",
    }
    with _served(argv, directory / "portkey.log", port, {"NODE_ENV": "production"}, headers) as served_at:
        yield served_at


@contextmanager
def _served(
    argv: list[str], log: Path, port: int, environment: dict[str, str], headers: dict[str, str]
) -> Iterator[tuple[Target, list[int]]]:
    """A gateway of plain HTTP on `port`, and the same request for it as for everybody, with `headers`."""
    request = log.with_suffix(".request")
    request.write_bytes(requests.post(ROUTE, requests.chat("mock"), headers))
    with running(argv, lambda: accepts(port), log, env={**os.environ, **environment}) as process:
        yield Target(port, request, Meter({"gateway": process.pid}), tls=False), [process.pid]


def _run(argv: list[str]) -> None:
    if not shutil.which(argv[0]):
        raise BenchError(f"`{argv[0]}` is not installed")
    say(f"peers: {' '.join(argv)}")
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BenchError(f"`{Path(argv[0]).name}` could not install it: {done.stderr.strip()[-300:]}")
