"""A model that hangs or breaks off, a client that leaves: who notices, and what is recorded (K22, K23, K24)."""

from __future__ import annotations

import contextlib
import http.client
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from bench.processes import descendants

from meshward.audit.join import Record
from meshward.audit.store import Store
from meshward.testing.recorder import Received, plain_answer
from tests.hostile.conftest import hostile_policy
from tests.stack import policies
from tests.stack.running import Stack, eventually, running

PATIENCE = 15  # seconds that m1 may be silent: time for twenty to ask, on a busy machine too
MOST_IN_VAIN = 200  # events that a model makes once its client has left
_STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def write_policy(jwks: Path, port: int, directory: Path) -> dict[str, Path]:
    sockets = {"m1/v1": directory / "1.sock", "m2/v1": directory / "2.sock"}
    policy = hostile_policy(jwks, port, sockets)
    policy["models"]["m1"]["timeout"] = f"{PATIENCE}s"
    policies.write(directory, policy)
    return sockets


@pytest.fixture(scope="module")
def stack(short_dir: Path) -> Iterator[Stack]:
    with running(short_dir, write_policy) as started:
        yield started


@pytest.fixture(autouse=True)
def well(stack: Stack) -> Iterator[None]:
    """Models answer again after each test."""
    yield
    for model in stack.models.values():
        model.answer = plain_answer


def test_a_model_that_hangs_is_given_up_and_the_other_never_notices(stack: Stack) -> None:
    token, hung, asked = stack.issuer.token("alice", ["users"]), threading.Event(), threading.Semaphore(0)

    def hang(_: Received, __: socket.socket) -> None:
        asked.release()
        hung.wait(120)

    stack.models["m1/v1"].answer = hang
    answers: list[tuple[str, int]] = []  # in the order in which they came

    def ask(model: str) -> None:
        answers.append((model, stack.call("GET", f"/m/{model}/v1/public", token).status))

    waiting = [threading.Thread(target=ask, args=("m1",)) for _ in range(20)]
    for each in waiting:
        each.start()
    assert all(asked.acquire(timeout=60) for _ in waiting), "each of them reaches the model"
    while any(each.is_alive() for each in waiting):
        ask("m2")
    assert answers[0] == ("m2", 200), "the other model waits with it"
    assert set(answers) == {("m2", 200), ("m1", 504)} and not hung.is_set(), (
        "they were given up: nobody let them go"
    )
    hung.set()
    stack.models["m1/v1"].answer = plain_answer
    assert stack.call("GET", "/m/m1/v1/public", token).status == 200, "nothing of it is left in the way"


def test_a_model_that_breaks_off_is_never_made_to_look_whole(stack: Stack) -> None:
    def break_off(_: Received, connection: socket.socket) -> None:
        connection.sendall(_STREAM + b"10\r\ndata: half a tho")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise OSError("and gone")

    stack.models["m1/v1"].answer = break_off
    with opened(stack) as response:
        rid = response.headers["X-Request-Id"]
        with pytest.raises((http.client.IncompleteRead, OSError)):
            while response.read1(100):
                pass
            raise AssertionError("the client was told that this was all")
    record = record_of(stack, rid)
    assert not record.complete and record.status == 200


def test_a_client_that_leaves_frees_everything(stack: Stack) -> None:
    """The model would stream for ever: it learns of each that leaves, or never stops."""
    left: list[int] = []
    sent = 0

    def stream(_: Received, connection: socket.socket) -> None:
        nonlocal sent
        connection.sendall(_STREAM)
        try:
            while True:
                connection.sendall(b"8\r\ndata: 1\n\r\n")
                sent += 1
                time.sleep(0.02)  # its pace
        except OSError:
            left.append(len(left))
            raise

    stack.models["m1/v1"].answer = stream
    with opened(stack) as response:
        response.read1(10)
    eventually(lambda: left, what="the first one's end")
    before, count = _descriptors(stack), 50
    for number in range(count):
        with opened(stack) as response:
            response.read1(10)
            rid = response.headers["X-Request-Id"]
        before_it = sent
        eventually(lambda n=number: len(left) == n + 2, what="the model's notice")  # type: ignore[misc]
        assert sent - before_it < MOST_IN_VAIN
    record = record_of(stack, rid)
    assert not record.complete
    eventually(lambda: _descriptors(stack) <= before + 5, what=f"{before} descriptors again")


@contextlib.contextmanager
def opened(stack: Stack) -> Iterator[http.client.HTTPResponse]:
    """A call of alice to m1, read by the caller; the connection ends with the block."""
    token = stack.issuer.token("alice", ["users"])
    with stack.connection(stack.tls()) as connection:
        headers = {"Host": f"{stack.hostname}:{stack.port}", "Authorization": f"Bearer {token}"}
        connection.request("POST", "/m/m1/v1/public", b"{}", headers)
        yield connection.getresponse()


def record_of(stack: Stack, rid: str) -> Record:
    """The one record, with both halves."""
    records = Store.read_only(stack.state)
    try:
        found = eventually(
            lambda: [each for each in records.records(rid) if each.edge and each.guard],
            what="the record",
        )
    finally:
        records.close()
    assert len(found) == 1
    record: Record = found[0]
    return record


def _descriptors(stack: Stack) -> int:
    """Open files of nginx and of m1's guard."""
    roots = [pid for name, pid in stack.processes().items() if name == "edge" or "m1" in name]
    return sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for root in roots for pid in descendants(root))
