"""The edge under attack: many workers, killed ones, floods, cut answers, and strangers who choose every word."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import re
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from edge_harness import GUARDS, Answer, Client, Edge, Received, message, permit, refusal, running, who
from lupa.luajit21 import LuaRuntime

import meshward.targets.nginx
from meshward.testing.waiting import DEADLINE, eventually

LUA = Path(meshward.targets.nginx.__file__).parent / "lua"


def workers(edge: Edge) -> set[int]:
    assert edge.process
    text = Path(f"/proc/{edge.process.pid}/task/{edge.process.pid}/children").read_text()
    return {int(pid) for pid in text.split()}


def private_bytes(pid: int) -> int:
    """Of memory that is this process' own."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return sum(int(n) * 1024 for n in re.findall(r"^Private_(?:Clean|Dirty): +(\d+) kB", text, re.MULTILINE))


# --- several workers ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pair() -> Iterator[Edge]:
    with running(workers=2) as edge:
        yield edge


def connected_to_each(edge: Edge) -> list[Client]:
    """Connections, of which each worker has some; each has been asked with before, and remembers."""
    clients: list[Client] = []
    seen: set[str] = set()
    while len(seen) < 2:
        clients.append(edge.client())
        answer = clients[-1].request("GET", "/m/minilm/a")
        assert answer.status == 200
        seen.add(edge.line(answer.get("X-Request-Id"))["pid"])
    return clients


def test_no_worker_permits_by_what_was_true_before_a_change(pair: Edge) -> None:
    pair.reset()
    clients = connected_to_each(pair)
    for turn in range(50):
        allowed = turn % 2 == 1
        pair.decision.answer = lambda _, a=allowed: permit() if a else refusal(403, "no_grant", expires=30)
        pair.bump()
        assert {client.request("GET", "/m/minilm/a").status for client in clients} == {
            200 if allowed else 403
        }
    for client in clients:
        client.socket.close()


def ask_until_served(edge: Edge) -> None:
    def served() -> bool:
        try:
            return edge.request("GET", "/m/minilm/a").status == 200
        except OSError:
            return False

    eventually(served)


@pytest.mark.parametrize("moment", ["upload", "stream", "question"])
def test_a_worker_that_is_killed_takes_only_its_own_with_it(moment: str) -> None:
    """Nothing is decided by what it remembered, no door opens, and another takes its place."""
    with running(workers=1) as edge, edge.client() as client:
        begun = asyncio.Event()

        async def endless(writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            while True:
                writer.write(b"1\r\nx\r\n")
                await writer.drain()
                await asyncio.sleep(0.01)

        assert client.request("GET", "/m/minilm/a").status == 200
        if moment == "upload":
            client.send(message("POST", "/m/minilm/a", Content_Length="1000") + b"x" * 10)
        elif moment == "stream":
            edge.guard.answer = lambda _: Answer(stream=endless)
            client.send(message("POST", "/m/minilm/a", body=b"x"))
            assert client.head().status == 200
        else:
            edge.decision.answer = lambda _: Answer(200, permit().headers, delay=1)
            client.send(message("GET", "/m/minilm/new"))
            eventually(lambda: edge.decision.received[-1].get("X-Mw-Path") == "/new")
        (old,) = workers(edge)
        os.kill(old, signal.SIGKILL)
        assert b"200 OK" not in client.rest()
        eventually(lambda: workers(edge) and old not in workers(edge))
        edge.guard.answer = lambda _: Answer(200)
        edge.decision.answer = lambda r: refusal(403, "no_grant") if r.get("X-Mw-Path") == "/a" else permit()
        eventually(lambda: edge._answers())
        assert edge.request("GET", "/m/minilm/a").status == 403, "what the killed one remembered is gone"
        assert edge.request("GET", "/m/minilm/b").status == 200
        begun.set()


# --- one question per key -----------------------------------------------------------------------------------------


def slowly(answer: Answer) -> Answer:
    return Answer(answer.status, answer.headers, delay=0.3)


def all_at_once(edge: Edge, count: int, path: str = "/m/minilm/a") -> list[int]:
    clients = [edge.client() for _ in range(count)]
    with ThreadPoolExecutor(count) as pool:
        found = list(pool.map(lambda client: client.request("GET", path).status, clients))
    for client in clients:
        client.socket.close()
    return found


def test_of_many_with_one_question_one_asks(edge: Edge) -> None:
    edge.decision.answer = lambda _: slowly(permit())
    assert all_at_once(edge, 40) == [200] * 40
    assert len(edge.decision.received) == 1


def test_a_refusal_of_a_stranger_serves_all_who_waited_and_is_not_kept(edge: Edge) -> None:
    edge.decision.answer = lambda _: slowly(refusal(401, "token_expired"))
    assert all_at_once(edge, 20) == [401] * 20
    assert len(edge.decision.received) == 1
    assert edge.request("GET", "/m/minilm/a").status == 401
    assert len(edge.decision.received) == 2


def test_a_permit_for_one_use_is_used_once(edge: Edge) -> None:
    edge.decision.answer = lambda _: slowly(permit(mw_ttl="0"))
    assert all_at_once(edge, 10) == [200] * 10
    assert len(edge.decision.received) == 10
    tokens = [request.get("Txn-Token") for request in edge.seen()]
    assert len(set(tokens)) == 10, "each has its own Transaction Token"


def test_who_asks_and_leaves_keeps_nobody_waiting(edge: Edge) -> None:
    edge.decision.answer = lambda _: slowly(permit())
    for _ in range(3):
        edge.bump()
        with edge.client() as gone:
            gone.send(message("GET", "/m/minilm/a"))
            count = len(edge.decision.received)
            eventually(lambda c=count: len(edge.decision.received) > c or edge.decision.received)  # type: ignore[misc]
        assert all_at_once(edge, 5) == [200] * 5


def test_a_question_that_fails_fails_for_all_who_waited_and_the_next_is_asked(edge: Edge) -> None:
    edge.decision.answer = lambda _: slowly(Answer(500))
    assert all_at_once(edge, 10) == [503] * 10
    edge.decision.answer = lambda _: permit()
    assert edge.request("GET", "/m/minilm/a").status == 200


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
        held = [edge.client() for _ in range(3)]
        for client in held:
            client.send(message("POST", "/m/minilm/a", Content_Length="100") + b"x")
        eventually(lambda: edge.request("GET", "/m/minilm/a").status == 429)
        for client in held:
            client.send(b"x" * 99)
            assert client.response("POST").status == 200
            client.socket.close()
        assert edge.request("GET", "/m/minilm/a").status == 200


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


CUT = 3000


def test_answers_that_are_cut_leave_nothing_behind(tmp_path: Path) -> None:
    """A thousand, and two thousand more: the worker's memory is what it was, and each line has its digest."""
    sent = [b"first " * 50, b"second"]

    async def cut(writer: asyncio.StreamWriter) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"
        for piece in (head + sent[0], sent[1]):
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)

    with running() as edge:
        edge.guard.answer = lambda _: Answer(stream=cut)
        (pid,) = workers(edge)

        def one(_: int) -> None:
            with edge.client() as client:
                client.send(message("POST", "/m/minilm/a", body=b"x"))
                assert b"second" in client.rest()

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(one, range(CUT // 3)))
            before = private_bytes(pid)
            list(pool.map(one, range(CUT - CUT // 3)))
        assert private_bytes(pid) < before + 4 * 1024 * 1024
        digest = base64.b64encode(hashlib.sha256(b"".join(sent)).digest()).decode()
        eventually(lambda: len(edge.lines()) >= CUT)
        lines = [line for line in edge.lines() if line["method"] == "POST"]
        assert {(line["resd"], line["last"]) for line in lines} == {(digest, "")}
        edge.guard.answer = lambda _: Answer(200)
        assert edge.request("GET", "/m/minilm/a").status == 200, "nothing of theirs is still under way"


# --- whose words are whose ----------------------------------------------------------------------------------------


def test_one_requests_values_are_never_anothers_on_one_connection(edge: Edge) -> None:
    def answer(request: Received) -> Answer:
        token = request.get("X-Mw-Authorization") or ""
        model = request.get("X-Mw-Model")
        if "no" in token:
            return refusal(403, "no_grant", seen=403)
        if model is None:
            return who()
        return permit(mw_facts=base64.urlsafe_b64encode(f"{token} {model}".encode()).decode().rstrip("="))

    edge.decision.answer = answer
    with edge.client() as client:
        for turn in range(3):
            for token, path, body, facts in (
                ("ok1", "/m/one/a", None, "Bearer ok1 one"),
                ("no1", "/m/one/a", None, ""),
                ("ok2", "/v1/x", b'{"model":"two"}', "Bearer ok2 two"),
                ("ok1", f"/m/three/{turn}?q", b"body", "Bearer ok1 three"),
                (None, "/.well-known/oauth-protected-resource", None, ""),
            ):
                got = client.request("POST" if body else "GET", path, token, body)
                line = edge.line(got.get("X-Request-Id"))
                read = base64.urlsafe_b64decode(line["facts"] + "==").decode()
                assert read == facts, (token, path, line)
                assert (line["guard"] == GUARDS[0]) == (got.status == 200 and bool(facts))
                assert line["reason"] == "" or got.status != 200


_UNREAD = {
    400: message("POST", "/m//x", "ok", b"GET /m/evil/x HTTP/1.1\r\n\r\n"),
    401: message("POST", "/m/minilm/x?access_token=a", "ok", b"GET /m/evil/x HTTP/1.1\r\n\r\n"),
    403: message("POST", "/m/minilm/x", "no", b"GET /m/evil/x HTTP/1.1\r\n\r\n"),
    404: message("POST", "/nothing", "ok", b"GET /m/evil/x HTTP/1.1\r\n\r\n"),
    405: message("FOO", "/m/minilm/x", "ok", b"GET /m/evil/x HTTP/1.1\r\n\r\n"),
    413: message("POST", "/m/minilm/small", "ok", b"GET /m/evil/x HTTP/1.1\r\n\r\n" * 50),
    415: message("POST", "/m/minilm/x", "ok", b"GET /m/evil/x HTTP/1.1\r\n\r\n", Content_Encoding="gzip"),
    421: message("POST", "/m/minilm/x", "ok", b"GET /m/evil/x HTTP/1.1\r\n\r\n", Host="other"),
}


@pytest.mark.parametrize("method", [b"POST", b"HEAD"])
@pytest.mark.parametrize("status", _UNREAD)
def test_the_body_of_a_refused_request_is_never_the_next_request(
    edge: Edge, status: int, method: bytes
) -> None:
    """Also of a HEAD, whose answer has none itself (CVE-2024-33452)."""
    edge.decision.answer = lambda r: (
        refusal(403, "no_grant")
        if "no" in (r.get("X-Mw-Authorization") or "")
        else permit(mw_route=f"{100 if r.get('X-Mw-Path') == '/small' else 10_000}|1 00 {GUARDS[0]}")
    )
    if status == 405:
        method = b"FOO"
    raw = method + _UNREAD[status].partition(b" ")[1] + _UNREAD[status].partition(b" ")[2]
    with edge.client() as client:
        client.send(raw)
        answer = client.response(method.decode())
        assert answer.status in (status, 400), answer
        client.socket.settimeout(DEADLINE)
        try:
            client.send(message("GET", "/m/minilm/after", "ok"))
            assert client.response().status == 200
        except OSError:
            pass  # the connection ended with the refusal: so be it
    assert {seen.target for seen in edge.seen()} <= {"/after"}
    assert not [asked for asked in edge.decision.received if asked.get("X-Mw-Model") == "evil"]


# --- a stranger's words -------------------------------------------------------------------------------------------

_RECORD = """
local asked = io.open("%s", "a")
asked:setvbuf("no")
local meta = getmetatable(ngx.var)
local get = meta.__index
meta.__index = function(self, name) asked:write(name, "\\n") return get(self, name) end
"""
# Values of a fixed set, our own, or bounded by the connection: whatever a stranger sends, they are few.
_FEW = re.compile(r"mw_\w+|remote_addr|binary_remote_addr|request_id|uri|host")


def strings_read(token: str | None, path: str, answer: Answer) -> set[str]:
    """The variables that become Lua strings for such a request."""
    places: list[Path] = []

    def script(file: str, text: str) -> str:
        if file != "lua/phases/start.lua":
            return text
        return _RECORD.replace("%s", str(places[0])) + text

    directory = Path("/tmp") / f"mwr-{os.getpid()}-{time.monotonic_ns()}"
    directory.mkdir(mode=0o777)
    directory.chmod(0o777)
    places.append(directory / "asked")
    try:
        with running(script) as edge:
            edge.decision.answer = lambda _: answer
            edge.request("POST", path, token, body=b'{"model":"x"}', X_Custom="x" * 100)
            return set(places[0].read_text().split())
    finally:
        (directory / "asked").unlink(missing_ok=True)
        directory.rmdir()


def test_of_what_the_gate_refuses_only_a_canonical_target_becomes_a_string_for_the_log() -> None:
    for token, path, may in (
        ("\xe9" * 2000, "/m/minilm/a", {"request_uri"}),
        ("ok", "/m/minilm/%41" + "a" * 2000, set()),
    ):
        read = strings_read(token, path, permit())
        assert {name for name in read if not _FEW.fullmatch(name)} <= {"http_host"} | may, read


def test_of_a_strangers_request_only_the_target_becomes_a_string() -> None:
    """It is cut into model and path, once; his credential, his headers and his body never are."""
    for path in ("/m/minilm/a", "/v1/x"):
        read = strings_read("x" * 4000, path, refusal(401, "token_malformed"))
        assert "request_uri" in read, "the recorder is awake"
        assert {name for name in read if not _FEW.fullmatch(name)} <= {"request_uri", "http_host"}, read
