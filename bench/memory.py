"""What a running demo holds in memory: the real thing, `meshward up --demo`, models and identity provider included."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bench import requests
from bench.figures import Verdict, shown
from bench.load import once
from bench.processes import BenchError, Memory, descendants, memory, running
from bench.report import Section, prose, table
from meshward.demo.accounts import token_for
from meshward.runtime.place.instance_file import load_instance
from meshward.testing.instance import START
from meshward.testing.stand_ins import free_port

REQUESTS = 20


def measure(directory: Path, rounds: int) -> Section:  # noqa: ARG001  memory needs no rounds
    state, log = directory / "s", directory / "up.log"
    ports = ["--edge-port", str(free_port()), "--idp-port", str(free_port())]
    argv = [sys.executable, "-m", "meshward", *START, "--demo", "--state", str(state), *ports]
    with running(argv, lambda: "ready: " in log.read_text(), log) as up:
        _use(state)
        status = json.loads((state / "status.json").read_text())
        whole = memory(descendants(up.pid))
        held = {part["name"]: memory(descendants(part["pid"])) for part in status["parts"] if part["pid"]}
        guards = {
            name: memory(_envoys(pid)) for name, pid in _pids(status).items() if name.startswith("guard-")
        }
        held["supervisor"] = memory([up.pid])
    return Section("memory", "Memory of the demo", _lines(whole, held, guards))


def _use(state: Path) -> None:
    """Some requests of a demo account, so that everybody has done all of their work once."""
    instance = load_instance(state)
    edge = urlsplit(instance.edge_url)
    assert instance.idp_url and edge.port
    token = token_for(instance.idp_url, "alice", state).reveal()
    headers = {"Host": edge.netloc, "Authorization": f"Bearer {token}"}
    for _ in range(REQUESTS):
        status, answer = once(edge.port, requests.post("/m/minilm/embed", requests.prompt(), headers))
        if status != 200:
            raise BenchError(f"the demo does not serve: {answer[:500]!r}")


def _pids(status: dict[str, Any]) -> dict[str, int]:
    return {part["name"]: part["pid"] for part in status["parts"] if part["pid"]}


def _envoys(pid: int) -> list[int]:
    """The guard alone: a sealed model's server lives below the same root."""
    return [each for each in descendants(pid) if Path(f"/proc/{each}/exe").readlink().name == "envoy"]


def _lines(whole: Memory, held: dict[str, Memory], guards: dict[str, Memory]) -> list[str]:
    most = max(guards.values(), key=lambda each: each.private)
    verdicts = [
        Verdict("the edge (all of nginx), PSS", held["edge"].pss, 40, "MB"),
        Verdict(f"each guard, private (the most of {len(guards)})", most.private, 20, "MB"),
        Verdict("the whole demo with its models, PSS", whole.pss, 500, "MB"),
    ]
    rows = [[name, shown(each.pss), shown(each.private)] for name, each in sorted(held.items())]
    rows += [
        [f"{name}, Envoy alone", shown(each.pss), shown(each.private)]
        for name, each in sorted(guards.items())
    ]
    return [
        *table(["what", "target", "measured", "verdict"], [verdict.cells() for verdict in verdicts]),
        "",
        *table(["part (with what runs in it)", "PSS MB", "private MB"], rows),
        "",
        *prose(
            f"After the start and {REQUESTS} requests to the real model, from /proc/PID/smaps_rollup. PSS shares pages",
            "among those who map them: each guard carries its part of one Envoy binary, and other Envoys on this",
            "machine carry theirs.",
        ),
    ]
