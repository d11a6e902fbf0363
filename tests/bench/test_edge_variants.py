"""What the bench takes out of the edge's program one after the other is in it: a part that moves is told here first."""

from __future__ import annotations

import itertools

import pytest
from bench.edge_variants import DROPS, EDGE, Program
from bench.processes import BenchError

from meshward.apply.hop_files import edge_files
from meshward.targets.nginx.settings import EdgeSettings

SETTINGS = EdgeSettings(
    listen_host="127.0.0.1", listen_port=8443, hostname="models.test", run_dir="/run/edge",
    decision_socket="/run/d.sock", control_socket="/run/c.sock", guard_socket="/run/{slot}/guard.sock",
    root_bundle="/run/root.pem", rates=("100000r/s",), slots=1,
)  # fmt: skip


def full() -> Program:
    return Program({name: text.decode() for name, text in edge_files(SETTINGS).items()}, "00", "mock.guard")


def test_each_part_of_the_edge_is_there_to_be_taken_out() -> None:
    assert ["bare", *reversed(DROPS)] == list(EDGE)
    program, kept = full(), []
    for drop in DROPS.values():
        program = drop(program)
        kept.append(program.files)
    assert all(one != other for one, other in itertools.pairwise(kept))
    conf = program.files["nginx.conf"]
    assert "rewrite_by_lua_file" not in conf and "https://slot00/embed" in conf


def test_a_part_that_is_not_there_stops_the_run() -> None:
    with pytest.raises(BenchError, match="up to date"):
        full().edited("nginx.conf", "js_content [^;]*;")
