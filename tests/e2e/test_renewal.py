"""Certificates are issued anew under load: no request fails, and older files go."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshward.apply.book import load_book
from meshward.apply.hops import Owner
from meshward.apply.renew import renew_edge, renew_guards
from meshward.apply.sources import read_policy
from meshward.plan.resolve import resolve
from meshward.runtime.directories import Run
from meshward.runtime.identities import Identity
from meshward.spiffe.ca import load_or_create
from tests.hostile.conftest import write_hostile
from tests.stack.running import Stack, eventually, running

ROUNDS = 8


@pytest.fixture(scope="module")
def stack(short_dir: Path) -> Iterator[Stack]:
    with running(short_dir, write_hostile) as started:
        yield started


def _owner_of(path: Path) -> Owner:
    stat = path.stat()
    return Owner(Identity(stat.st_gid, stat.st_gid))


def test_renewal_costs_no_request(stack: Stack) -> None:
    plan = resolve(read_policy(stack.policy).policy)
    run, book = Run(stack.run), load_book(stack.state)
    authority = load_or_create(stack.state / "ca", plan.trust_domain)
    edge = _owner_of(run.edge_dir / "generation")
    guards = {slot: _owner_of(run.guard_dir(slot) / "xds") for slot in book.slots.values()}
    statuses: list[int] = []
    stop = threading.Event()
    token = stack.issuer.token("alice", ["users"])

    def ask() -> None:
        while not stop.is_set():
            statuses.append(stack.call("GET", "/m/m1/v1/public", token).status)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    try:
        for step in range(1, ROUNDS + 1):
            before = len(statuses)
            renew_guards(plan, book.slots, run, authority, guards)
            renew_edge(plan, run, authority, edge, book.generation + step)
            eventually(lambda before=before: len(statuses) > before + 3, what="traffic after a renewal")
    finally:
        stop.set()
        thread.join(20)
    assert set(statuses) == {200}, statuses
    kept = sorted(file.name for file in (run.edge_dir / "certs").glob("web.*.pem"))
    assert kept == sorted(f"web.{book.generation + step}.pem" for step in (ROUNDS - 1, ROUNDS))
