"""The edge's program with one part after the other dropped, each as an nginx of its own before the bare guard."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from bench.load import Target
from bench.nginx import nginx
from bench.processes import BenchError, Meter, accepts
from bench.sides import Sides
from meshward.apply.hop_files import Owner, edge_settings, write_edge
from meshward.callers.revocations import Revoked
from meshward.runtime.place.components import find_components
from meshward.runtime.place.identities import starter
from meshward.targets.nginx.settings import EdgeSettings
from meshward.testing.stand_ins import free_port

EDGE = {
    "bare": "TLS in, mTLS out",
    "+ gate": "canonical form, host, method; headers by allow-list; certificates by variable",
    "+ key": "njs: SHA-256 over every input of the decision, the epoch file read",
    "+ decision": "auth_request, answered from the decision cache, the token sent on",
    "+ hop": "njs: version and slot chosen, then a second location",
    "+ limit": "one limit_req zone, keyed by identity",
    "+ digests": "njs: SHA-256 of prompt and answer",
    "+ log": "one JSON line: the full edge",
}


@dataclass(frozen=True)
class Program:
    """The edge's two files as text, and the guard that its decision names."""

    conf: str
    script: str
    slot: str
    name: str

    def edited(self, pattern: str, by: str | Callable[[re.Match[str]], str]) -> Program:
        """With every match replaced. Raises BenchError if the program no longer has the part that is to go."""
        conf, found = re.subn(pattern, by, self.conf, flags=re.DOTALL)
        if not found:
            raise BenchError(
                f"the edge's program holds nothing like `{pattern}`: bring bench/edge_variants.py up to date"
            )
        return replace(self, conf=conf)


def without_log(program: Program) -> Program:
    return program.edited(r"access_log [^;]*access\.log[^;]*;", "access_log off;")


def without_digests(program: Program) -> Program:
    """The prompt's digest is then always that of nothing: the program wants one in the right form."""
    script, found = re.subn(r"\n    if \(size > SMALL\) \{\n.*?\n    \}", "", program.script, flags=re.DOTALL)
    script, hashed = re.subn(r"v\.mw_reqd = size \? [^;]*;", "v.mw_reqd = EMPTY;", script)
    if not (found and hashed):
        raise BenchError("`go` in meshward.js digests nothing: bring bench/edge_variants.py up to date")
    return replace(program, script=script).edited(r"js_body_filter [^;]*;", "")


def without_limit(program: Program) -> Program:
    return program.edited(r"limit_req zone=mw_[0-9]+[sm] [^;]*;", "")


def without_hop(program: Program) -> Program:
    """Straight on from the first location, always to the same guard."""
    inside = _location(program.conf, "@go")
    inside = re.sub(r"if \(\$mw_upstream = \"\"\) \{[^}]*\}", "", inside)
    inside = (
        inside.replace("${mw_upstream}", f"slot{program.slot}")
        .replace("$mw_sni", program.name)
        .replace("${mw_reqd}", "")
    )
    return _in_front(program, r"js_content mw\.go;", inside)


def without_decision(program: Program) -> Program:
    return _in_front(program, r"auth_request(?:_set)? [^;]*;")


def without_key(program: Program) -> Program:
    program = replace(
        program,
        conf=program.conf.replace(f"slot{program.slot}${{mw_target}}", f"slot{program.slot}/embed$is_args"),
    )
    return _in_front(program, r"if \(\$mw_key = \"\"\) \{[^}]*\}")


_DROPS = {
    "+ log": lambda program: program,
    "+ digests": without_log,
    "+ limit": without_digests,
    "+ hop": without_limit,
    "+ decision": without_hop,
    "+ key": without_decision,
    "+ gate": without_key,
}


@contextmanager
def edge_variants(both: Sides) -> Iterator[dict[str, Target]]:
    """One nginx for each variant, from bare to full."""
    targets: dict[str, Target] = {}
    with ExitStack() as stack:
        program: Program | None = None
        for number, (name, drop) in enumerate(_DROPS.items()):
            directory = both.directory / f"e{number}"
            full = full_program(both, directory, f"{both.directory}/slot{{slot}}/guard.sock")
            program = (
                drop(replace(full, conf=_moved(program.conf, number), script=program.script))
                if program
                else full
            )
            targets[name] = stack.enter_context(started(both, directory, program))
        yield {"bare": both.bare} | dict(reversed(targets.items()))


def _moved(conf: str, number: int) -> str:
    """The last variant's file for the next one's directory; its port is put in when it starts."""
    return conf.replace(f"/e{number - 1}/", f"/e{number}/")


def full_program(both: Sides, directory: Path, guard_socket: str) -> Program:
    """The edge's own files, for one more nginx beside the instance's, that finds its guards at `guard_socket`."""
    settings = _settings(both, directory, guard_socket)
    write_edge(settings, both.whole.authority, Revoked(), Owner(starter()), "1", 1)
    conf, script = ((directory / name).read_text() for name in ("nginx.conf", "meshward.js"))
    return Program(conf, script, both.guarded.slot, both.guarded.dns_name)


def _settings(both: Sides, directory: Path, guard_socket: str) -> EdgeSettings:
    """The instance's own settings, but for places."""
    cache = directory / "cache"
    module = str(find_components().njs_module)
    return replace(
        edge_settings(both.whole.plan, both.whole.run, cache, module, workers=1),
        run_dir=str(directory),
        root_bundle=str(directory / "certs" / "root.pem"),
        guard_socket=guard_socket,
    )


@contextmanager
def started(both: Sides, directory: Path, program: Program) -> Iterator[Target]:
    """An nginx that runs `program`, which stands in `directory`, and has served a request."""
    port = free_port()
    user = "user root;\n" if os.geteuid() == 0 else ""
    text = user + re.sub(r"listen 127\.0\.0\.1:\d+ ssl", f"listen 127.0.0.1:{port} ssl", program.conf)
    (directory / "meshward.js").write_text(program.script.replace(_other(program.script), str(directory)))
    with nginx(directory, text, lambda: accepts(port)) as process:
        target = Target(port, both.full.request, Meter({"edge": process.pid}))
        status, answer = target.once()
        if status != 200:
            raise BenchError(
                f"a variant of the edge does not serve: {answer[:500]!r}; see {directory}/error.log"
            )
        yield target


def _other(script: str) -> str:
    """The directory that the script's settings name."""
    found = re.search(r'"epoch": "([^"]*)/epoch"', script)
    assert found
    return found[1]


def _location(conf: str, name: str) -> str:
    """What stands inside the one `location` of that name; it ends with the brace below its first letter."""
    found = re.search(rf"^( *)location {name} \{{\n(.*?)^\1\}}", conf, re.MULTILINE | re.DOTALL)
    if not found:
        raise BenchError(
            f"the edge's program has no location `{name}`: bring bench/edge_variants.py up to date"
        )
    return found[2]


def _in_front(program: Program, pattern: str, by: str = "") -> Program:
    """With every match replaced in the location that a request meets first."""
    inside = _location(program.conf, r'"?\^~"? /m/')
    edited, found = re.subn(pattern, lambda _: by, inside, flags=re.DOTALL)
    if not found:
        raise BenchError(
            f"the edge's /m/ holds nothing like `{pattern}`: bring bench/edge_variants.py up to date"
        )
    return replace(program, conf=program.conf.replace(inside, edited))
