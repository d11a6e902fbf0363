"""How fast the edge finds the model that a body names: its own Lua, in an nginx of the kind that it runs in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path

from bench import requests
from bench.figures import Verdict, middle, shown, spread
from bench.load import once
from bench.machine import served_first
from bench.nginx import conf, nginx
from bench.processes import BenchError, accepts, cpu_ns, descendants
from bench.report import Section, prose, say, table
from meshward.runtime.place.components import find_components
from meshward.testing.stand_ins import free_port

SIZE = 1_000_000  # bytes of a body
MEGABYTES = 100  # scanned in a round, of each body
FASTEST, STRETCH = 200, 2  # MB/s at least; milliseconds without a pause at most
_SCRIPT = Path(__file__).with_name("scan.lua")


@dataclass(frozen=True, slots=True)
class Scanned:
    """Megabytes (10^6 bytes) per second of CPU time; the longest stretch without a pause, in milliseconds of it."""

    rate: float
    longest: float


def ordinary() -> Mapping[str, bytes]:
    """What clients send. Each names the model `mock` last."""
    tool = {
        "type": "function",
        "function": {"name": "f", "parameters": {"properties": {"model": {}, "text": {}}}},
    }
    turn = {
        "role": "user",
        "content": 'What does "model" mean here?\nA word, and another, and some more of them. ',
    }
    return {
        "a conversation with tools": _filled({"tools": [tool] * 20, "stream": True}, "messages", turn),
        "texts to embed": _filled({}, "input", "some words of a text that is to be embedded. " * 10),
        "an image in base64": _filled({}, "image", "iVBORw0KGgo" * 1000),
    }


def odd() -> Mapping[str, bytes]:
    """What is built to be slow."""
    return {
        "nothing but escapes": _filled({}, "input", "\u00e9\u4e2d" * 500),
        "numbers": _filled({}, "input", list(range(1000, 1100))),
        "brackets in brackets": _filled({}, "input", json.loads("[" * 50 + "]" * 50)),
        "many short keys": _filled({}, "input", {f"{number:x}": 0 for number in range(100)}),
    }


def _filled(value: dict[str, object], name: str, piece: object) -> bytes:
    """`value` with as many `piece`s in a list called `name` as make SIZE bytes."""
    times = SIZE // (len(json.dumps(piece)) + 2)
    return json.dumps({**value, name: [piece] * times, "model": "mock"}).encode()


def measure(directory: Path, rounds: int) -> Section:
    found: dict[str, list[Scanned]] = {}
    with served_first() as how, as_file(files("meshward.targets.nginx") / "lua") as lua:
        port = free_port()
        with nginx(directory / "n", _conf(lua, port), lambda: accepts(port)) as process:
            for name, body in {**ordinary(), **odd()}.items():
                file = directory / "body"
                file.write_bytes(body)
                _scan(process.pid, port, file, body)  # warms up
                found[name] = [_scan(process.pid, port, file, body) for _ in range(rounds)]
                say(f"scan, {name}: {found[name][-1].rate:.0f} MB/s")
    return Section("scan", "The model in a body", _lines(found, rounds, how))


def _conf(lua: Path, port: int) -> str:
    components = find_components()
    modules = "".join(f"load_module {module};\n" for module in components.lua_modules)
    return modules + conf(f"""lua_package_path "{lua}/?.lua;{components.lua_path};";
        server {{ listen 127.0.0.1:{port}; location / {{ content_by_lua_file {_SCRIPT}; }} }}""")


def _scan(pid: int, port: int, file: Path, body: bytes) -> Scanned:
    times = max(1, MEGABYTES * 1_000_000 // len(body))
    request = f"GET /?file={file}&times={times} HTTP/1.1\r\nHost: {requests.HOSTNAME}\r\n\r\n".encode()
    before = sum(map(cpu_ns, descendants(pid)))
    status, answer = once(port, request, tls=False)
    used = (sum(map(cpu_ns, descendants(pid))) - before) / 1e9
    if status != 200 or b'"mock"' not in answer:
        raise BenchError(f"the scan does not find the model: {answer[:500]!r}")
    longest = json.loads(answer[answer.index(b"{") : answer.rindex(b"}") + 1])["longest"]
    return Scanned(times * len(body) / 1e6 / used, longest)


def _lines(found: Mapping[str, list[Scanned]], rounds: int, how: str) -> list[str]:
    rates = {name: [each.rate for each in scanned] for name, scanned in found.items()}
    slowest = min(ordinary(), key=lambda name: middle(rates[name]))
    longest = max(each.longest for scanned in found.values() for each in scanned)
    off = spread(rates[slowest])
    verdicts = [
        Verdict(f"body scan, {slowest}", middle(rates[slowest]), FASTEST, "MB/s", least=True, off=off),
        Verdict("the longest stretch of a scan without a pause", longest, STRETCH, "ms"),
    ]
    rows = [
        [name, shown(middle(rates[name])), shown(spread(rates[name])), shown(max(s.longest for s in scanned))]
        for name, scanned in found.items()
    ]
    return [
        *table(["what", "target", "measured", "verdict"], [verdict.cells() for verdict in verdicts]),
        "",
        *table(["body", "MB/s", "+-", "longest stretch, ms"], rows),
        "",
        *prose(
            "The first three are what clients send, and the slowest of them is held against the target; the others are",
            f"built to be slow. Bodies of {SIZE // 1_000_000} MB whose model comes last, scanned by the edge's Lua in",
            f"an nginx with one worker: medians of {rounds} rounds of {MEGABYTES} MB each, by CPU time, the pauses for",
            "others' requests included. A stretch is what lies between two of them; the longest of all rounds. It ran",
            f"{how}.",
        ),
    ]
