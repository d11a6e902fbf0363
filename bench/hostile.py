"""Floods: what well-behaved clients wait while others misbehave, and what they wait otherwise; the edge's memory."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bench import floods, refused, requests
from bench.figures import Verdict, middle, ratio, shown, spread
from bench.load import Target, unverified
from bench.machine import served_first
from bench.mock import Mock
from bench.nginx import conf, nginx
from bench.processes import BenchError, Meter, accepts, descendants, memory
from bench.report import Section, prose, say, table
from bench.whole import Whole, whole_instance
from meshward.testing.recorder import SERVERS_GID
from meshward.testing.stand_ins import free_port

RATE, SECONDS = 200, 1.5  # of the well-behaved clients, in a round
MOST, MEMORY = 2.0, 512  # times the p99 without a flood; megabytes
LONG = 1_000_000  # bytes of the answer that slow readers ask for
MEANINGS = {
    "slow headers": f"{floods.SLOW:,} requests whose headers never end, a line per second",
    "slow bodies": f"{floods.BODIES:,} bodies below /v1 that stop at {floods.HELD / 1e6:.1f} MB, without a real token",
    "slow reads": f"{floods.READERS} answers of {LONG // 1_000_000} MB that nobody reads, with a good token",
    "idle": f"{floods.IDLE:,} idle keep-alive connections",
    "prompts": f"{floods.PROMPTS} prompts of 100 MB at once, half of them chunked, with a good token, 1 Gbit/s in all",
    "headers": f"{floods.HEADERS}/s requests with 90 headers of 300 bytes, every eighth with 3,000 headers",
    "kids": f"{floods.KIDS:,}/s tokens with a random `kid`, each another, from 10 addresses",
    "refused": f"{floods.REFUSED:,}/s requests of one person who is known and may nothing, from 10 addresses",
    "keys": f"{floods.KEYED} connections: bodies of {floods.KEYS_SIZE // 1000} KB below /v1, all keys of one hash, "
    "`Authorization: x`",
    "large": f"{floods.LARGE} connections: bodies of {floods.LARGE_SIZE // 1_000_000} MB below /v1, `Authorization: x`",
    "talks": f"{floods.LARGE} connections: conversations of {floods.LARGE_SIZE // 1_000_000} MB below /v1, with tools, "
    "the model last and a good token, 1 Gbit/s in all",
}


@dataclass
class Found:
    """Of one flood, by round. Latencies in milliseconds, memory (PSS of all of nginx) in megabytes."""

    quiet: list[float] = field(default_factory=list)
    loud: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)
    held: list[int] = field(default_factory=list)
    answers: dict[str, int] = field(default_factory=dict)

    def last(self) -> str:
        return f"p99 {shown(self.quiet[-1])} -> {shown(self.loud[-1])} ms, edge {shown(self.memory[-1])} MB"


def measure(directory: Path, rounds: int) -> Section:
    with ExitStack() as stack:
        how = stack.enter_context(served_first())
        mock = stack.enter_context(_mock(directory))
        whole = stack.enter_context(whole_instance(directory, mock))
        target = whole.target(directory, "mock", "/m/mock/embed", requests.prompt())
        target = replace(
            target, meter=Meter({})
        )  # nginx' cache loader ends by itself, a minute from its start
        _refuses_http2(whole.port)
        target.paced(RATE, 1)
        found = {kind: Found() for kind in floods.KINDS}
        for number in range(rounds):
            for kind in (kind for kind in found if kind != "idle"):
                _alternate(kind, found[kind], whole, target, 1)
                say(f"hostile {number + 1}/{rounds}, {kind}: {found[kind].last()}")
        _alternate("idle", found["idle"], whole, target, rounds)
        say(f"hostile, idle: {found['idle'].last()}")
        told = refused.cost(
            whole,
            target,
            lambda answers: _flood("refused", whole, Found(answers=answers)),
            RATE,
            SECONDS,
            rounds,
        )
    costs = ["", "### Refusals of somebody who is known", "", *refused.lines(told, SECONDS)]
    return Section("hostile", "Floods", [*_lines(found, rounds, how), *costs])


@contextmanager
def _mock(directory: Path) -> Iterator[Mock]:
    """A model that answers at once: shortly on /embed, at length on /v1/chat/completions."""
    mock = Mock(directory / "model.sock", free_port())
    (directory / "long.json").write_bytes(b" " * LONG)
    server = f"""server {{
        listen unix:{mock.socket}; listen 127.0.0.1:{mock.port};
        keepalive_requests 100000000; default_type application/json; error_page 405 =200 /long;
        location = /embed {{ return 200 '{requests.embedding().decode()}'; }}
        client_max_body_size 0; client_body_buffer_size 4m;
        location = /v1/embeddings {{ proxy_pass http://unix:{mock.socket}:/embed; }}
        location = /v1/chat/completions {{ return 405; }}
        location = /long {{ internal; alias {directory}/long.json; }}
    }}"""
    with nginx(directory / "mock", conf(server), lambda: accepts(mock.port)):
        if os.geteuid() == 0:
            os.chown(mock.socket, -1, SERVERS_GID)
        mock.socket.chmod(0o660)
        yield mock


def _refuses_http2(port: int) -> None:
    """Raises BenchError if HTTP/2 is agreed on: then its floods would have to be measured here, too."""
    context = unverified()
    context.set_alpn_protocols(["h2", "http/1.1"])
    with socket.create_connection(("127.0.0.1", port)) as plain, context.wrap_socket(plain) as secure:
        if (agreed := secure.selected_alpn_protocol()) not in (None, "http/1.1"):
            raise BenchError(f"the edge agreed on {agreed}")


def _alternate(kind: str, found: Found, whole: Whole, target: Target, times: int) -> None:
    """`times` without the flood, then as often with it."""
    found.quiet += [target.paced(RATE, SECONDS).p99 for _ in range(times)]
    with _flood(kind, whole, found):
        for _ in range(times):
            found.loud.append(target.paced(RATE, SECONDS).p99)
            found.memory.append(memory(descendants(whole.roots()["edge"])).pss)


@contextmanager
def _flood(kind: str, whole: Whole, found: Found) -> Iterator[None]:
    argv = [sys.executable, "-m", "bench.floods", kind, str(whole.port)]
    poor = requests.token(whole.issuer, refused.POOR, [])
    environment = {**os.environ, "BENCH_TOKEN": whole.token, "BENCH_POOR": poor}
    with subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as client:
        assert client.stdin and client.stdout
        said = client.stdout.readline().split()
        if said[:1] != ["on"]:
            raise BenchError(f"the flood `{kind}` did not begin")
        yield
        client.stdin.write("off\n")
        client.stdin.flush()
        _add(found, kind, json.loads(client.stdout.readline()))


def _add(found: Found, kind: str, result: dict[str, Any]) -> None:
    if "error" in result:
        raise BenchError(f"the flood `{kind}` ended early: {result['error']}")
    found.held.append(result["held"])
    for status, number in result["answers"].items():
        found.answers[status] = found.answers.get(status, 0) + number


def _lines(found: dict[str, Found], rounds: int, how: str) -> list[str]:
    most = max(size for each in found.values() for size in each.memory)
    verdicts = [
        *(Verdict(f"p99, {kind}", ratio(each.loud, each.quiet), MOST, "x") for kind, each in found.items()),
        Verdict("the edge (all of nginx), PSS, at its most", most, MEMORY, "MB"),
    ]
    head = [
        "flood",
        "what it is",
        "p99 without",
        "+-",
        "p99 with",
        "+-",
        "edge MB",
        "open",
        "what the flood got",
    ]
    return [
        *table(["what", "target", "measured", "verdict"], [verdict.cells() for verdict in verdicts]),
        "",
        *table(head, [_row(kind, each) for kind, each in found.items()]),
        "",
        *prose(
            f"p99 in milliseconds of clients that send {RATE} requests per second over 16 connections for",
            f"{SECONDS:g} s, medians of {rounds} rounds, each without the flood and then with it; the idle connections",
            "are opened once, after their rounds without. `open` is how many of its connections the flood still held",
            f"at the end: those come from {floods.ADDRESSES} addresses. One nginx worker. Well-behaved clients, model",
            f"and instance share this machine, {how}; so does the flood's client, at nice 10 and from addresses of its",
            "own.",
            "HTTP/2 is not offered: who asks for `h2` (ALPN) gets HTTP/1.1, so there are no streams to reset.",
        ),
    ]


def _row(kind: str, each: Found) -> list[str]:
    got = ", ".join(f"{number} x {status}" for status, number in sorted(each.answers.items()))
    waits = [shown(f(values)) for values in (each.quiet, each.loud) for f in (middle, spread)]
    return [kind, MEANINGS[kind], *waits, shown(max(each.memory)), str(min(each.held)), got]
