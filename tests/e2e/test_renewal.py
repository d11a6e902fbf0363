"""What is due is replaced by itself, under load: no request fails, and older files go."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshward.apply.edge_page import EdgePage
from meshward.kit.durable import write_atomic
from meshward.tokens.key_store import POINTER, load
from meshward.tokens.keys import RETIRED_FOR
from tests.hostile.conftest import write_hostile
from tests.stack import hasty
from tests.stack.load import at_work
from tests.stack.running import Stack, eventually, running


@pytest.fixture(scope="module")
def stack(short_dir: Path) -> Iterator[Stack]:
    with running(short_dir, write_hostile, hasty.__name__) as started:
        yield started


def test_a_signing_key_of_yesterday_is_replaced_and_its_public_half_forgotten_in_the_end(
    stack: Stack,
) -> None:
    token, statuses, stop = stack.issuer.token("alice", ["users"]), list[int](), threading.Event()

    def call() -> None:
        while not stop.is_set():
            statuses.append(stack.call("GET", "/m/m1/v1/public", token).status)

    directory = stack.state / "keys"
    before = load(directory)
    with at_work(stop, call):
        age(directory, since=before.since - 2 * 86400)
        eventually(lambda: load(directory).current.kid == before.next.kid, what="the next key")
        keys = [guard / "xds" / "ecds-jwt.json" for guard in (stack.run / "given" / "guards").iterdir()]
        assert all(before.current.kid in file.read_text() for file in keys), "its tokens live"
        named = json.loads((directory / POINTER).read_text())
        retired = [{**each, "at": each["at"] - RETIRED_FOR - 1} for each in named["previous"]]
        write_atomic(directory / POINTER, json.dumps({**named, "previous": retired}))
        eventually(lambda: not any(before.current.kid in file.read_text() for file in keys), what="its end")
        eventually(lambda: len(statuses) > 20, what="traffic")
    assert set(statuses) == {200}


def age(directory: Path, since: float) -> None:
    named = json.loads((directory / POINTER).read_text())
    write_atomic(directory / POINTER, json.dumps({**named, "since": since}))


def test_of_the_edges_certificates_two_generations_stay(stack: Stack) -> None:
    from tests.stack.asking import ask

    for _ in range(4):
        ask(stack.state, {"do": "rotate", "what": "edge-certificate"}, lambda _: None)
    generation = EdgePage.in_directory(stack.run / "given" / "edge").generation
    kept = {file.name for file in (stack.run / "given" / "edge" / "certs").glob("web.*.pem")}
    assert kept == {f"web.{generation}.pem", f"web.{generation - 1}.pem"}
