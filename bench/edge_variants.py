"""The edge's program with one part after the other dropped, each as an nginx of its own before the bare guard."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from bench.load import Target
from bench.nginx import nginx
from bench.processes import BenchError, Meter, accepts
from bench.sides import Sides
from meshward.apply.hop_files import Nginx, Owner, edge_files, edge_settings, write_edge
from meshward.callers.revocations import Revoked
from meshward.runtime.place.components import find_components
from meshward.runtime.place.identities import starter
from meshward.targets.nginx.settings import EdgeSettings
from meshward.testing.stand_ins import free_port

EDGE = {
    "bare": "TLS in, mTLS out",
    "+ headers": "by allow-list both ways; a request id; certificates by generation",
    "+ gate": "Lua: the page with epoch and generation, who is open per address; no tunnel",
    "+ key": "Lua: SHA-256 over every input of the decision",
    "+ decision": "Lua: from memory; the version chosen, the token sent on",
    "+ body": "Lua: read into memory, its model found",
    "+ limit": "one limit_req zone, keyed by identity",
    "+ endings": "Lua: each piece of an answer may end it",
    "+ digests": "Lua: SHA-256 of prompt and answer",
    "+ log": "one JSON line: the full edge",
}
_CONF = "nginx.conf"


@dataclass(frozen=True)
class Program:
    """The edge's files as texts by name, and the guard that its decision names."""

    files: Mapping[str, str]
    slot: str
    name: str

    def edited(self, file: str, pattern: str, by: str | Callable[[re.Match[str]], str] = "") -> Program:
        """With every match replaced. Raises BenchError if the program no longer has the part that is to go."""
        text, found = re.subn(pattern, by, self.files[file], flags=re.DOTALL)
        if not found:
            raise BenchError(
                f"{file} holds nothing like `{pattern}`: bring bench/edge_variants.py up to date"
            )
        return replace(self, files={**self.files, file: text})


def without_log(program: Program) -> Program:
    return program.edited(_CONF, r"access_log [^;]*access\.log[^;]*;", "access_log off;")


def without_digests(program: Program) -> Program:
    """The prompt's digest is then always that of nothing: the guard's header wants one."""
    program = program.edited("lua/body.lua", r"return #body <= SMALL [^\n]*", "return digest.EMPTY")
    return program.edited("lua/answer.lua", r"\n    if last and not run\.digest then\n.*?\n    end(?=\nend)")


def without_endings(program: Program) -> Program:
    return program.edited(_CONF, r"body_filter_by_lua_file [^;]*;")


def without_limit(program: Program) -> Program:
    return program.edited(_CONF, r"limit_req zone=mw_[0-9]+[sm] [^;]*;")


def without_body(program: Program) -> Program:
    """nginx reads it all the same, to pass it on."""
    return program.edited("lua/request.lua", r"work\.text = body\.read\(\)", 'work.text = ""')


def without_decision(program: Program) -> Program:
    """Always to the same guard."""
    fixed = {
        "${mw_upstream}${mw_target}": f"https://slot{program.slot}/embed$is_args",
        "$mw_sni": program.name,
        "$mw_host": program.name,
        "${mw_generation}": "1",
    }

    def inside(found: re.Match[str]) -> str:
        text = found[0]
        for variable, value in fixed.items():
            text = text.replace(variable, value)
        return text

    program = program.edited(_CONF, r'location "?\^~"? /m/ \{.*?\n        \}', inside)
    program = program.edited(
        "lua/request.lua", r"\n    local d, refused = decide\(.*?\nend\n", "\n    return true\nend\n"
    )
    return program.edited("lua/request.lua", r"\n    if not ngx\.ctx\.decision then\n.*?\n    end(?=\nend)")


def without_key(program: Program) -> Program:
    return program.edited("lua/request.lua", r"\n    local asked, has_query = key\.[^\n]*")


def without_gate(program: Program) -> Program:
    program = program.edited(_CONF, r"log_by_lua_file [^;]*;")
    return program.edited(_CONF, r"rewrite_by_lua_file [^;]*;")


# Each is also without what those before it dropped.
DROPS: Mapping[str, Callable[[Program], Program]] = {
    "+ log": lambda program: program,
    "+ digests": without_log,
    "+ endings": without_digests,
    "+ limit": without_endings,
    "+ body": without_limit,
    "+ decision": without_body,
    "+ key": without_decision,
    "+ gate": without_key,
    "+ headers": without_gate,
}


@contextmanager
def edge_variants(both: Sides) -> Iterator[dict[str, Target]]:
    """One nginx for each variant, from bare to full."""
    targets: dict[str, Target] = {}
    with ExitStack() as stack:
        for number, name in enumerate(DROPS):
            directory = both.directory / f"e{number}"
            program = full_program(both, directory, f"{both.directory}/slot{{slot}}/guard.sock")
            for drop in list(DROPS.values())[: number + 1]:
                program = drop(program)
            targets[name] = stack.enter_context(started(both, directory, program))
        yield {"bare": both.bare} | dict(reversed(targets.items()))


def full_program(both: Sides, directory: Path, guard_socket: str) -> Program:
    """The edge's own files, for one more nginx beside the instance's, that finds its guards at `guard_socket`."""
    settings = _settings(both, directory, guard_socket)
    write_edge(settings, both.whole.authority, Revoked(), Owner(starter()), generation=1, epoch=1)
    files = {name: content.decode() for name, content in edge_files(settings).items()}
    return Program(files, both.guarded.slot, both.guarded.dns_name)


def _settings(both: Sides, directory: Path, guard_socket: str) -> EdgeSettings:
    """The instance's own settings, but for places."""
    components = find_components()
    own = Nginx((), components.lua_modules, components.lua_path)
    return replace(
        edge_settings(both.whole.plan, both.whole.run, own, workers=1),
        run_dir=str(directory),
        given_dir="",
        root_bundle=str(directory / "certs" / "root.pem"),
        guard_socket=guard_socket,
    )


@contextmanager
def started(both: Sides, directory: Path, program: Program) -> Iterator[Target]:
    """An nginx that runs `program`, which stands in `directory`, and has served a request."""
    port = free_port()
    user = "user root;\n" if os.geteuid() == 0 else ""
    text = user + re.sub(r"listen 127\.0\.0\.1:\d+ ssl", f"listen 127.0.0.1:{port} ssl", program.files[_CONF])
    for name in program.files.keys() - {_CONF}:
        (directory / name).write_text(program.files[name])
    with nginx(directory, text, lambda: accepts(port)) as process:
        target = Target(port, both.full.request, Meter({"edge": process.pid}))
        target.must_serve("a variant of the edge", f"; see {directory}/nginx.log")
        yield target
