"""The loads behind bench/RESULTS.md: who is loaded when, and that what is counted is what was served."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from bench.load import Target
from bench.nginx import conf, nginx
from bench.paced import WARM
from bench.processes import BenchError, Meter, accepts

from bench import floods, requests, turns
from meshward.testing.stand_ins import free_port

Logged = Callable[[], list[str]]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Target, Logged]]:
    """An nginx that answers /embed, and one line for each request that it has answered: its token."""
    port = free_port()
    server = f"""log_format token "$http_authorization"; keepalive_requests 1000000;
        server {{ access_log log token; listen 127.0.0.1:{port}; location = /embed {{ return 200 yes; }} }}"""
    request = tmp_path / "one.request"
    request.write_bytes(requests.post("/embed", requests.prompt(), {"Authorization": requests.ANY_TOKEN}))
    with nginx(tmp_path / "n", conf(server), lambda: accepts(port)) as process:
        target = Target(port, request, Meter({"nginx": process.pid}), tls=False)
        yield target, lambda: (tmp_path / "n" / "log").read_text().split()


@pytest.mark.skipif(not shutil.which("wrk"), reason="wrk is not installed")
def test_a_stopped_load_counts_what_was_served_in_its_turns(served: tuple[Target, Logged]) -> None:
    target, logged = served
    taken = turns.Turns()
    with turns.busy(2)(target) as turn:
        before = len(logged())
        for _ in range(3):
            turn(taken)
        between = len(logged())
    assert abs(taken.requests - (between - before)) <= 2  # what is under way on two connections
    assert taken.requests > 2 and taken.sample().total("nginx") > 0
    assert taken.seconds >= turns.SLICE * 3


@pytest.mark.skipif(not shutil.which("wrk"), reason="wrk is not installed")
def test_a_busy_load_that_is_refused_is_no_measurement(served: tuple[Target, Logged], tmp_path: Path) -> None:
    other = tmp_path / "other.request"
    other.write_bytes(requests.post("/nothing", b"", {}))
    with pytest.raises(BenchError, match="not served"), turns.busy(1)(served[0].sending(other)) as turn:
        turn(turns.Turns())


def test_a_paced_load_sends_what_its_rate_says(served: tuple[Target, Logged]) -> None:
    target, logged = served
    taken = turns.Turns()
    with turns.paced(60, seconds=0.5, connections=3)(target) as turn:
        turn(taken)
        turn(taken)
    assert taken.requests == len(taken.latencies) == 60
    assert len(logged()) == 60 + 3 * WARM
    assert taken.sample().p99 >= taken.sample().p50 > 0


def test_many_callers_take_turns(served: tuple[Target, Logged], tmp_path: Path) -> None:
    target, logged = served
    tokens = tmp_path / "tokens"
    tokens.write_text("\n".join(f"token{number}" for number in range(20)))
    with turns.paced(100, seconds=0.4, connections=4)(replace(target, callers=tokens)) as turn:
        turn(turns.Turns())
    assert set(logged()) == set(tokens.read_text().split())


def test_every_target_is_loaded_for_as_long_in_turns_forth_and_back() -> None:
    order: list[int] = []

    @contextmanager
    def opening(target: Target) -> Iterator[turns.Turn]:
        def turn(taken: turns.Turns) -> None:
            order.append(target.port)
            taken.requests += 1
            taken.seconds += 0.1
            taken.cpu["me"] += target.port * 1000

        yield turn

    targets = {name: Target(port, Path(), Meter({})) for name, port in (("one", 1), ("two", 2))}
    found = turns.in_turns(targets, opening, 0.4, 2, "a test")
    assert order == [1, 2, 2, 1, 1, 2, 2, 1] * 2
    assert [sample.total() for sample in found["two"]] == [2.0, 2.0]


def test_a_chunked_upload_is_its_body_in_pieces() -> None:
    body = requests.upload(100_000)
    head, _, chunks = requests.chunked("/v1/embeddings", body, {}, 16384).partition(b"\r\n\r\n")
    assert b"Transfer-Encoding: chunked" in head and b"Content-Length" not in head
    pieces = re.findall(rb"([0-9a-f]+)\r\n((?:(?!\r\n).)*)\r\n", chunks)
    assert b"".join(piece for _, piece in pieces) == body and pieces[-1] == (b"0", b"")
    assert {int(size, 16) for size, _ in pieces[:-2]} == {16384}


def test_keys_that_collide_differ_only_where_luajit_does_not_look() -> None:
    keys = {floods.colliding(number) for number in range(1000)}
    seen = {key[:4] + key[9:13] + key[18:22] + key[36:] for key in keys}
    assert len(keys) == 1000 and len(seen) == 1 and {len(key) for key in keys} == {40}
