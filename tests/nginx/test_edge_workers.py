"""The edge with several workers: one epoch for all, one of them killed, and all of them replaced by a reload."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from edge_harness import Answer, Client, Edge, held, message, permit, refusal, running

from meshward.testing.waiting import eventually

MOMENTS = ("upload", "stream", "question")


@pytest.fixture
def pair() -> Iterator[Edge]:
    with running(workers=2) as edge:
        yield edge


def worker_of(edge: Edge, client: Client, path: str = "/m/minilm/a", status: int = 200) -> int:
    """Which worker answers on this connection; the answer has this status."""
    answer = client.request("GET", path)
    assert answer.status == status
    return int(edge.line(answer.get("X-Request-Id"))["pid"])


def connected_to_each(edge: Edge) -> dict[int, Client]:
    """A connection to each of two workers; each has been asked with, and its worker remembers."""
    found: dict[int, Client] = {}
    for worker in edge.workers():
        with edge.without(edge.workers() - {worker}):
            found[worker] = edge.client()
            assert worker_of(edge, found[worker]) == worker
    return found


def test_no_worker_permits_by_what_was_true_before_a_change(pair: Edge) -> None:
    clients = connected_to_each(pair)
    assert set(clients) == pair.workers()
    more = [pair.client() for _ in range(8)]
    for turn in range(50):
        allowed = turn % 2 == 1
        pair.decision.answer = lambda _, a=allowed: permit() if a else refusal(403, "no_grant", expires=30)
        pair.bump()
        for client in (*clients.values(), *more, *clients.values()):
            assert client.request("GET", "/m/minilm/a").status == (200 if allowed else 403), turn
    assert {worker_of(pair, client) for client in clients.values()} == set(clients)


def pieces(go: threading.Event) -> Answer:
    """A stream: one piece at once, another once `go` is set."""

    async def send(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n")
        await writer.drain()
        while not go.is_set():
            await asyncio.sleep(0.01)
        writer.write(b"3\r\ntwo\r\n0\r\n\r\n")
        await writer.drain()

    return Answer(stream=send)


def begin(edge: Edge, client: Client, moment: str, go: threading.Event) -> None:
    """A request on this connection that is in the middle of something, and goes on when `go` is set."""
    if moment == "upload":
        client.send(message("POST", "/m/minilm/a", Content_Length="100") + b"x" * 10)
    elif moment == "stream":
        edge.guard.answer = lambda _: pieces(go)
        client.send(message("POST", "/m/minilm/a", body=b"x"))
        assert client.head().status == 200 and client.chunk() == b"one"
    else:
        edge.decision.answer = lambda _: held(permit(), go)
        client.send(message("GET", "/m/minilm/new"))
        eventually(lambda: any(asked.get("X-Mw-Path") == "/new" for asked in edge.decision.received))


def finish(client: Client, moment: str, go: threading.Event) -> None:
    """It ends as if nothing had been."""
    go.set()
    if moment == "stream":
        assert [client.chunk(), client.chunk()] == [b"two", b""]
        return
    if moment == "upload":
        client.send(b"x" * 90)
    assert client.response().status == 200


def refuses_a(edge: Edge) -> None:
    """From now on /a is refused, without a new epoch: whoever still permits it remembers."""
    edge.guard.answer = lambda _: Answer(200)
    edge.decision.answer = lambda r: refusal(403, "no_grant") if r.get("X-Mw-Path") == "/a" else permit()


def one_of(edge: Edge, among: set[int], path: str) -> int:
    """The status with which one of these workers answers this path."""
    with edge.without(edge.workers() - among):
        answer = edge.request("GET", path)
        assert int(edge.line(answer.get("X-Request-Id"))["pid"]) in among
    return answer.status


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_worker_that_is_killed_takes_only_its_own_with_it(pair: Edge, moment: str) -> None:
    """The other serves on; a new one comes, which knows nothing of what the killed one remembered."""
    (victim, lost), (other, kept) = connected_to_each(pair).items()
    go = threading.Event()
    begin(pair, lost, moment, go)
    os.kill(victim, signal.SIGKILL)
    assert b"HTTP/1.1 200" not in lost.rest()
    refuses_a(pair)
    assert worker_of(pair, kept) == other, "on the connection that it had, by what it remembers itself"
    eventually(lambda: len(pair.workers()) == 2 and victim not in pair.workers())
    assert one_of(pair, pair.workers() - {other}, "/m/minilm/a") == 403
    assert one_of(pair, pair.workers() - {other}, "/m/minilm/b") == 200
    go.set()
    if moment != "stream":
        assert not [seen for seen in pair.seen() if seen.method == "POST" or seen.target == "/new"]


def is_ending(pid: int) -> bool:
    """Whether this worker was told to, and has something left to do."""
    return b"shutting down" in Path(f"/proc/{pid}/cmdline").read_bytes()


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_reload_cuts_nothing_and_remembers_nothing(pair: Edge, moment: str) -> None:
    assert pair.process
    clients = connected_to_each(pair)
    busy, client = next(iter(clients.items()))
    go = threading.Event()
    begin(pair, client, moment, go)
    pair.process.send_signal(signal.SIGHUP)
    eventually(lambda: len(pair.workers() - set(clients)) == 2 and is_ending(busy))
    finish(client, moment, go)
    refuses_a(pair)
    eventually(lambda: not pair.workers() & set(clients))
    assert one_of(pair, pair.workers(), "/m/minilm/a") == 403
    assert one_of(pair, pair.workers(), "/m/minilm/b") == 200
