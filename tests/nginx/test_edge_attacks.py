"""The edge under attack: many with one question, floods that want its room, and bodies and answers in pieces."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from edge_harness import GUARDS, Answer, Edge, Received, held, message, permit, refusal, running
from lupa.luajit21 import LuaRuntime

import meshward.targets.nginx
from meshward.testing.waiting import eventually

LUA = Path(meshward.targets.nginx.__file__).parent / "lua"


def private_bytes(pid: int) -> int:
    """Of memory that is this process' own."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return sum(int(n) * 1024 for n in re.findall(r"^Private_(?:Clean|Dirty): +(\d+) kB", text, re.MULTILINE))


# --- one question per key -----------------------------------------------------------------------------------------


def all_at_once(edge: Edge, count: int, answer: Callable[[], Answer]) -> list[int]:
    """What so many callers get who ask one thing; each has asked before the first question is answered."""
    go = threading.Event()
    edge.decision.answer = lambda _: held(answer(), go)
    clients = [edge.client() for _ in range(count)]
    for client in clients:
        client.send(message("GET", "/m/minilm/a"))
    assert edge.request("GET", "/nothing").status == 404, "nginx has read them all"
    go.set()
    found = [client.response().status for client in clients]
    for client in clients:
        client.socket.close()
    return found


@pytest.fixture(scope="module")
def _patient() -> Iterator[Edge]:
    def script(file: str, text: str) -> str:
        assert file != "lua/decisions.lua" or "PATIENCE = 4 " in text
        return text.replace("PATIENCE = 4 ", "PATIENCE = 3600 ") if file == "lua/decisions.lua" else text

    with running(script) as edge:
        yield edge


@pytest.fixture
def patient(_patient: Edge) -> Edge:
    """An edge on which who waits asks himself after an hour only: whoever is not woken shows."""
    _patient.reset()
    return _patient


def test_of_many_with_one_question_one_asks(patient: Edge) -> None:
    assert all_at_once(patient, 100, permit) == [200] * 100
    assert len(patient.decision.received) == 1


def test_a_refusal_of_a_stranger_serves_all_who_waited_and_is_not_kept(patient: Edge) -> None:
    assert all_at_once(patient, 20, lambda: refusal(401, "token_expired")) == [401] * 20
    assert len(patient.decision.received) == 1
    assert patient.request("GET", "/m/minilm/a").status == 401
    assert len(patient.decision.received) == 2


def test_a_permit_for_one_use_is_used_once(edge: Edge) -> None:
    assert all_at_once(edge, 10, lambda: permit(mw_ttl="0")) == [200] * 10
    assert len(edge.decision.received) == 10
    tokens = [request.get("Txn-Token") for request in edge.seen()]
    assert len(set(tokens)) == 10, "each has its own Transaction Token"


@pytest.mark.parametrize("status", [200, 401])
def test_who_asks_and_leaves_keeps_nobody_waiting(patient: Edge, status: int) -> None:
    go = threading.Event()
    answer = permit() if status == 200 else refusal(401, "token_expired")
    patient.decision.answer = lambda _: held(answer, go)
    others = [patient.client() for _ in range(5)]
    gone = patient.client()
    gone.send(message("GET", "/m/minilm/a"))
    eventually(lambda: patient.decision.received)
    for other in others:
        other.send(message("GET", "/m/minilm/a"))
    gone.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    gone.socket.close()  # by a reset: there is nobody any more
    assert patient.request("GET", "/nothing").status == 404, "nginx has seen that"
    go.set()
    assert [other.response().status for other in others] == [status] * 5
    assert len(patient.decision.received) == 1
    assert patient.request("GET", "/m/minilm/a").status == status
    asked = 1 if status == 200 else 2
    assert len(patient.decision.received) == asked, "remembered, or asked anew: the question is not stuck"
    for other in others:
        other.socket.close()


def test_a_question_that_fails_fails_for_all_who_waited_and_the_next_is_asked(patient: Edge) -> None:
    assert all_at_once(patient, 10, lambda: Answer(500)) == [503] * 10
    patient.decision.answer = lambda _: permit()
    assert patient.request("GET", "/m/minilm/a").status == 200


# --- room ---------------------------------------------------------------------------------------------------------


def lua(**stubs: str) -> LuaRuntime:
    """LuaJIT with our modules, and whatever stands in for nginx."""
    runtime = LuaRuntime(unpack_returned_tuples=True, encoding=None)
    runtime.execute(f'package.path = "{LUA}/?.lua"'.encode())
    for name, text in stubs.items():
        runtime.execute(f"package.loaded.{name} = {text}".encode())
    return runtime


def test_a_hundred_thousand_callers_keep_to_their_room_and_who_comes_again_stays() -> None:
    runtime = lua()
    runtime.execute(b"""
        local store = require("recent").new(4 * 1024 * 1024)
        store:put("ann", { size = 2048 })
        most, stayed = 0, true
        for n = 1, 100000 do
            store:put("caller" .. n, { size = 2048 })
            if n % 500 == 0 then stayed = stayed and store:get("ann") ~= nil end
            if n % 1000 == 0 then
                local count = 0
                for _, each in ipairs { store.young, store.old } do
                    for _ in pairs(each) do count = count + 1 end
                end
                most = math.max(most, count)
            end
        end
    """)
    assert runtime.globals()[b"stayed"] is True
    assert runtime.globals()[b"most"] <= 2 * 4 * 1024 * 1024 / 2048


def test_verified_callers_drive_out_each_other_but_nobody_who_comes_again() -> None:
    """Three thousand of them, where there is room for about a hundred."""
    with (
        running(cold_rate="900000r/s", cold_burst=5000, decision_room=65536) as edge,
        edge.client() as client,
    ):
        for number in range(3000):
            assert client.request("GET", "/m/minilm/a", f"ok{number}").status == 200
            if number % 10 == 0:
                assert client.request("GET", "/m/minilm/a", "ok of ann").status == 200
        asked = [request.get("X-Mw-Authorization") for request in edge.decision.received]
        assert asked.count("Bearer ok of ann") == 1
        assert client.request("GET", "/m/minilm/a", "ok2999").status == 200
        assert len(edge.decision.received) == len(asked) == 3001, "the last is remembered"
        for number in range(0, 2800, 100):
            assert client.request("GET", "/m/minilm/a", f"ok{number}").status == 200
        assert len(edge.decision.received) == 3001 + 28, "those long gone are asked about anew"


def test_long_paths_take_no_more_room_than_there_is() -> None:
    """A decision is remembered with its path: one verified caller may choose thousands of eight thousand bytes."""
    room = 512 * 1024
    with running(cold_rate="900000r/s", cold_burst=5000, decision_room=room) as edge, edge.client() as client:
        edge.decision.answer = lambda _: refusal(403, "no_grant", expires=600)
        (pid,) = edge.workers()
        assert client.request("GET", "/m/minilm/" + "x" * 7000).status == 403
        before = private_bytes(pid)
        for number in range(1500):
            assert client.request("GET", f"/m/minilm/{number:06d}" + "x" * 7000).status == 403
        assert len(edge.decision.received) == 1501
        assert private_bytes(pid) < before + 2 * room + 3 * 1024 * 1024


def test_all_that_a_decision_says_counts_as_its_size() -> None:
    runtime = lua(settings="{ rates = {}, slots = 64 }")
    runtime.execute(b"ngx = { unescape_uri = function(text) return text end }")
    read = runtime.eval(b"""function(more)
        local said = { ["x-mw-route"] = "1|1 00 a", ["x-mw-txn-token"] = "a.b.c", ["x-mw-ties"] = ("a"):rep(32) }
        said["x-mw-times"] = "60 3600"
        said["x-mw-names"], said["x-mw-facts"] = ("n"):rep(more), ("f"):rep(more)
        return require("decision").read(200, said).size
    end""")
    assert read(1000) - read(0) == 2000


def test_strangers_take_no_room(edge: Edge) -> None:
    """What nobody vouches for is never kept, so it drives nobody out: the one who was verified is remembered on."""
    with edge.client() as client:
        assert client.request("GET", "/m/minilm/a", "ok").status == 200
        edge.decision.answer = lambda _: refusal(401, "token_malformed")
        for number in range(150):
            assert client.request("GET", "/m/minilm/a", f"no{number}{'x' * 3000}").status == 401
        assert client.request("GET", "/m/minilm/a", "ok").status == 200
        assert client.request("GET", "/m/minilm/a", "no1" + "x" * 3000).status == 401
    assert len(edge.decision.received) == 152


_CROWD = {
    "settings": "{ open_per_address = 3, handshake_rate = 1, handshake_burst = 5 }",
}


def crowd(now: str = "0") -> LuaRuntime:
    runtime = lua(**_CROWD)
    runtime.execute(f"ngx = {{ now = function() return NOW or {now} end, var = {{}} }}".encode())
    runtime.execute(b'crowd = require "crowd"')
    return runtime


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("::ffff:10.0.0.1", "::ffff:10.0.0.2", False),
        ("::1", "::2", True),
    ],
)
def test_an_ipv6_address_counts_with_its_64(one: str, other: str, same: bool) -> None:
    def net(address: str) -> object:
        runtime = crowd()
        var = runtime.eval(b"ngx.var")
        var[b"remote_addr"] = address.encode()
        var[b"binary_remote_addr"] = socket.inet_pton(socket.AF_INET6, address)
        return runtime.eval(b"crowd.net()")

    assert (net(one) == net(other)) is same


def test_handshakes_are_counted_by_64_and_come_back_with_time() -> None:
    runtime = crowd()
    ask = runtime.eval(b"crowd.handshake")
    of_one_64 = [socket.inet_pton(socket.AF_INET6, f"2001:db8::{n:x}") for n in range(1, 9)]
    assert [ask(each) for each in of_one_64] == [True] * 5 + [False] * 3
    assert ask(socket.inet_aton("10.0.0.1")) is True
    mapped = [socket.inet_pton(socket.AF_INET6, f"::ffff:10.0.0.{n}") for n in range(2, 20)]
    assert all(ask(each) for each in mapped), "each IPv4 address by itself"
    runtime.execute(b"NOW = 2.5")
    assert [ask(of_one_64[0]) for _ in range(4)] == [True, True, False, False]


def test_a_hundred_thousand_addresses_keep_to_their_room() -> None:
    """Who has that many /64 gets a handshake from each; but no more memory."""
    runtime = crowd()
    ask, used = (
        runtime.eval(b"crowd.handshake"),
        runtime.eval(b"function() return collectgarbage('count') end"),
    )
    runtime.execute(b"collectgarbage('setpause', 110)")
    before = most = used()
    for number in range(100_000):
        assert ask(struct.pack(">IIQ", 0x20010DB8, number, 1)) is True
        most = max(most, used())
    assert most - before < 8 * 1024, "kilobytes"


def test_requests_under_way_are_given_back() -> None:
    runtime = crowd()
    enter, leave = runtime.eval(b"crowd.enter"), runtime.eval(b"crowd.leave")
    assert [enter(b"a") for _ in range(4)] == [True, True, True, False]
    leave(b"a")
    assert [enter(b"a"), enter(b"a"), enter(b"b")] == [True, False, True]


def test_an_address_has_its_full_number_again_after_whatever_became_of_its_requests() -> None:
    with running(open_per_address=3) as edge:
        for _ in range(4):
            with edge.client() as client:  # leaves in the middle of its body
                client.send(message("POST", "/m/minilm/a", Content_Length="100") + b"x")
            edge.request("GET", "/m/minilm/a", "no")
            edge.request("GET", "/m//x")
            edge.guard.stop()
            assert edge.request("GET", "/m/minilm/a").status == 502
            edge.guard.start()
        assert_all_may_be_open(edge, 3)


# --- large bodies -------------------------------------------------------------------------------------------------

_LARGE = b'{"model":"minilm","inputs":"' + b"x" * 40_000 + b'"}'
_FIND = "return json_model.find(body, pause)"


def _watched(found: str) -> Callable[[str, str], str]:
    """Looking for the model in a body, with `found` in its place; and nobody goes on by patience."""
    changes = {
        "lua/body_model.lua": (_FIND, found),
        "lua/body.lua": ("local PATIENCE = 5 ", "local PATIENCE = 3600 "),
    }

    def script(file: str, text: str) -> str:
        if file not in changes:
            return text
        old, new = changes[file]
        assert text.count(old) == 1
        return f"local ACTIVE, TIMES = 0, 0\n{text.replace(old, new)}"

    return script


def _post_at_once(edge: Edge, body: bytes, count: int) -> list[int]:
    """Statuses. Each is sent but for its end, so that all are there together."""
    clients = [edge.client() for _ in range(count)]
    for client in clients:
        client.send(message("POST", "/v1/embeddings", body=body)[:-1])
    for client in clients:
        client.send(body[-1:])
    found = [client.response("POST").status for client in clients]
    for client in clients:
        client.socket.close()
    return found


def test_of_many_large_bodies_one_is_worked_on_at_a_time() -> None:
    watch = """ACTIVE = ACTIVE + 1
        if ACTIVE > 1 then error("two at a time", 0) end
        ngx.sleep(0.01)
        local from, to, name = json_model.find(body, pause)
        ACTIVE = ACTIVE - 1
        return from, to, name"""
    with running(_watched(watch)) as edge:
        assert _post_at_once(edge, _LARGE, 12) == [200] * 12


def test_work_on_a_large_body_that_fails_holds_up_no_other() -> None:
    throw = f"TIMES = TIMES + 1 if TIMES == 1 then error('x', 0) end {_FIND}"
    with running(_watched(throw)) as edge:
        assert sorted(_post_at_once(edge, _LARGE, 4)) == [200, 200, 200, 503]


# --- bodies and answers -------------------------------------------------------------------------------------------


def test_a_full_body_in_chunks_is_taken_whole() -> None:
    """As large as a body may be, in pieces of some hundred bytes; others are served meanwhile."""
    size = 2 * 1024 * 1024
    body = bytes(range(256)) * (size // 256)
    pieces = [body[at : at + 256] for at in range(0, size, 256)]
    with running(max_body=size) as edge, edge.client() as slow:
        edge.decision.answer = lambda _: permit(mw_route=f"{size}|1 00 {GUARDS[0]}")
        slow.send(message("POST", "/m/minilm/a", Transfer_Encoding="chunked"))
        for number, piece in enumerate(pieces):
            slow.send(b"%x\r\n%b\r\n" % (len(piece), piece))
            if number % 1000 == 0:
                assert edge.request("GET", "/m/minilm/b").status == 200, "in the middle of it"
        slow.send(b"0\r\n\r\n")
        answer = slow.response("POST")
        assert answer.status == 200
        (request,) = (seen for seen in edge.seen() if seen.method == "POST")
        assert request.body == body and request.get("Content-Length") == str(size)
        digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
        assert edge.line(answer.get("X-Request-Id"))["reqd"] == digest


def test_a_large_body_in_chunks_of_one_byte_is_refused_and_others_are_served() -> None:
    """Its chunks take six times what it holds: more than there is room for in memory, and it is kept nowhere else."""
    size = 2 * 1024 * 1024
    with running(max_body=size) as edge, edge.client() as slow:
        edge.decision.answer = lambda _: permit(mw_route=f"{size}|1 00 {GUARDS[0]}")
        slow.send(message("POST", "/m/minilm/a", Transfer_Encoding="chunked"))
        for _ in range(16):
            slow.send(b"1\r\nx\r\n" * (size // 16))
            assert edge.request("GET", "/m/minilm/b").status == 200
        slow.send(b"0\r\n\r\n")
        answer = slow.response("POST")
        assert (answer.status, answer.json()["error_type"]) == (413, "body_too_large")
        assert "chunks" in answer.json()["error"]
        assert not [seen for seen in edge.seen() if seen.method == "POST"]


def test_a_body_shorter_than_it_says_reaches_nobody(edge: Edge) -> None:
    """Not even the beginning of it: nothing connects to the guard."""
    slots = {"/short": 0, "/b": 1}

    def answer(request: Received) -> Answer:
        slot = slots[request.get("X-Mw-Path") or ""]
        return permit(mw_route=f"1000000|1 {slot:02d} {GUARDS[slot]}")

    edge.decision.answer = answer
    edge.guard.stop()
    edge.guard.start()  # so that no connection to it is left
    before = edge.guard.connections
    with edge.client() as client:
        client.send(message("POST", "/m/minilm/short", Content_Length="100000") + b"x" * 99_999)
        assert edge.request("GET", "/m/minilm/b").status == 200, "others are served meanwhile"
    eventually(
        lambda: [line for line in edge.lines() if (line["method"], line["path"]) == ("POST", "/short")]
    )
    assert edge.guard.connections == before


def test_a_body_longer_than_it_says_ends_where_it_says(edge: Edge) -> None:
    """The rest is no request: it is refused, whatever it looks like to others."""
    with edge.client() as client:
        client.send(message("POST", "/m/minilm/a", Content_Length="10") + b"x" * 10 + b"y" * 10)
        answer = client.response("POST")
        assert answer.status == 200
        client.send(b" / HTTP/1.1\r\n\r\n")
        assert client.response().status == 400
    (request,) = edge.seen()
    assert request.body == b"x" * 10 and request.get("Content-Length") == "10"
    digest = base64.b64encode(hashlib.sha256(b"x" * 10).digest()).decode()
    assert request.get("Content-Digest") == f"sha-256=:{digest}:"
    line = edge.line(answer.get("X-Request-Id"))
    assert (line["reqd"], line["bytes_in"]) == (digest, "10")


@pytest.mark.parametrize(
    ("size", "statuses"),
    [
        (b"ffffffff", {413}),
        (b"ffffffffffffffff", {400, 413}),
        (b"1ffffffffffffffffff", {400}),
        (b"-1", {400}),
        (b"0x10", {400}),
    ],
)
def test_a_chunk_that_lies_about_its_size_is_refused(edge: Edge, size: bytes, statuses: set[int]) -> None:
    with edge.client() as client:
        client.send(
            message("POST", "/m/minilm/a", Transfer_Encoding="chunked") + size + b"\r\nx\r\n0\r\n\r\n"
        )
        assert client.response("POST").status in statuses
    assert edge.seen() == []
    assert edge.request("GET", "/m/minilm/b").status == 200


CUT, LONG = 3000, 10_000  # answers that are cut; the latter with --long


def test_answers_that_are_cut_leave_nothing_behind(request: pytest.FixtureRequest) -> None:
    """A third of them, and then the others: the worker's memory is what it was, and each line has its digest.

    Of every three the server ends one, and its client another.
    """
    count = LONG if request.config.getoption("--long") else CUT
    sent = [b"first " * 50, b"second"]
    of_all, of_some = (
        base64.b64encode(hashlib.sha256(x).digest()).decode() for x in (b"".join(sent), sent[0])
    )

    async def cut(writer: asyncio.StreamWriter) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"
        for piece in (head + sent[0], sent[1]):
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)

    with running(open_per_address=32) as edge:
        edge.guard.answer = lambda _: Answer(stream=cut)
        (pid,) = edge.workers()

        def one(number: int) -> None:
            with edge.client() as client:
                client.send(message("POST", "/m/minilm/a", body=b"x"))
                if number % 3 == 0:
                    assert client.head().status == 200
                else:
                    assert b"second" in client.rest()

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(one, range(count // 3)))
            before = private_bytes(pid)
            list(pool.map(one, range(count - count // 3)))
        assert private_bytes(pid) < before + 4 * 1024 * 1024
        eventually(lambda: len(edge.lines()) >= count)
        lines = [line for line in edge.lines() if line["method"] == "POST"]
        assert len(lines) == count and {line["last"] for line in lines} == {""}
        assert {line["resd"] for line in lines} <= {of_all, of_some}
        assert [line["resd"] for line in lines].count(of_all) >= count * 2 // 3 - 1
        edge.guard.answer = lambda _: Answer(200)
        assert_all_may_be_open(edge, 32)


def assert_all_may_be_open(edge: Edge, count: int) -> None:
    """An address has exactly its number of requests under way: nothing of those before is left."""
    opened = [edge.client() for _ in range(count)]
    for client in opened:
        client.send(message("POST", "/m/minilm/a", Content_Length="100") + b"x")
    eventually(lambda: edge.request("GET", "/m/minilm/a").status == 429)
    for client in opened:
        client.send(b"x" * 99)
        assert client.response("POST").status == 200
        client.socket.close()
    assert edge.request("GET", "/m/minilm/a").status == 200
