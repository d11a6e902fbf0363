"""The full path once more, with the TLS between edge and guard taken out: what it costs on one machine.

The socket's mode would be the caller's proof, so this is measured and not offered.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from bench.bare import envoy
from bench.edge_variants import full_program, started
from bench.guard_variants import Json, full_guard
from bench.load import Target
from bench.processes import BenchError, Meter
from bench.sides import Sides
from meshward.targets.envoy.wire import PEER_STATE


@contextmanager
def plain_hop(both: Sides) -> Iterator[Target]:
    place = both.directory / "plain"
    socket = place / f"slot{both.guarded.slot}" / "guard.sock"
    socket.parent.mkdir(parents=True)
    guard = json.loads(json.dumps(_without_tls(full_guard(both))).replace("@PLACE@", str(socket.parent)))
    program = full_program(both, place / "edge", str(place / "slot{slot}" / "guard.sock"))
    program = program.edited("nginx.conf", 'proxy_pass "https://', 'proxy_pass "http://')
    program = program.edited("nginx.conf", r"proxy_ssl_\w+ [^;]*;")
    with ExitStack() as stack:
        guard_pid = stack.enter_context(envoy(socket.parent, guard, socket))
        target = stack.enter_context(started(both, place / "edge", program))
        meter = Meter({"edge": target.meter.roots["edge"], "guard": guard_pid})
        yield Target(target.port, target.request, meter)


def _without_tls(bootstrap: Json) -> Json:
    """Nobody is asked for a certificate, so no rule of the guard can ask whose it was."""
    found: Json = _for_anybody(bootstrap)
    chain = found["static_resources"]["listeners"][0]["filter_chains"][0]
    if "transport_socket" not in chain:
        raise BenchError("a guard has no TLS to take out: bring bench/plain.py up to date")
    del chain["transport_socket"]
    return found


def _for_anybody(value: Any) -> Any:
    """A copy in which no route names a caller by certificate."""
    if isinstance(value, dict):
        return {
            name: _for_anybody(inside) for name, inside in value.items() if not _names_caller(name, inside)
        }
    return [_for_anybody(inside) for inside in value] if isinstance(value, list) else value


def _names_caller(name: str, inside: Any) -> bool:
    return name == "filter_state" and [each["key"] for each in inside] == [PEER_STATE]
