"""Rows of the catalogue of known attacks that no other test has, each through a whole instance (docs/hardening.md)."""

from __future__ import annotations

import base64
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import pytest

from meshward.audit.store import Store
from meshward.testing.recorder import Received
from meshward.trace.story import wait_for
from tests.hardening.conftest import KeyServer
from tests.stack.live import change_rules
from tests.stack.running import Reply, Stack, eventually

PUBLIC, SECRET = "/m/m.1/v1/public", "/m/m.1/v1/secret"
HEADER_TIMEOUT = 10.0  # seconds for a request's headers
PER_ADDRESS = 200  # requests of one address that may be under way


def _record(stack: Stack, reply: Reply) -> dict[str, Any]:
    told = wait_for(Store.read_only(stack.state), reply.request_id, 60)
    assert told is not None, reply
    return told.as_json()


def _head(stack: Stack, line: str, *headers: str) -> bytes:
    return "\r\n".join([line, f"Host: {stack.hostname}", *headers, "", ""]).encode()


@contextmanager
def _connection(stack: Stack, source: str = "127.0.0.1") -> Iterator[ssl.SSLSocket]:
    plain = socket.create_connection(("127.0.0.1", stack.port), timeout=60, source_address=(source, 0))
    with stack.tls().wrap_socket(plain, server_hostname=stack.hostname) as tls:
        yield tls


def _status(tls: ssl.SSLSocket) -> int:
    return int(tls.recv(65536).split(b" ", 2)[1])


def test_a05_a10_what_stands_in_a_query_and_stars_open_no_route(stack: Stack, ann: str) -> None:
    for query in ("/v1/public", "x=/v1/public", "/../public", "url=http://x/v1/public"):
        assert stack.call("GET", f"{SECRET}?{query}", ann).status == 403, query
    for path in ("/v1/pub*", "/v1/*", "/*/public", "/v1/public*", "/v1/{x}", "/v1/:x"):
        assert stack.call("GET", f"/m/m.1{path}", ann).status in (400, 404), path
    assert stack.taken() == []


def test_a14_names_that_hold_dots_are_no_patterns(stack: Stack, ann: str) -> None:
    """A model `m.1` beside `mx1`, a group `team.io`, a subject `sam.1`: each is exactly itself."""
    assert stack.call("GET", PUBLIC, ann).status == 200
    assert [len(stack.models[name].taken()) for name in ("m.1/v1", "mx1/v1")] == [1, 0]
    for model in ("m-1", "m_1", "m1", "m..1", "ma1", "m.1.", "xm.1", "M.1"):
        assert stack.call("GET", f"/m/{model}/v1/public", ann).status == 404, model
    for group in ("teamXio", "team.ioX", "Xteam.io", "team.io ", "TEAM.IO", "team.*", "team"):
        token = stack.issuer.token("eve", [group])
        assert stack.call("GET", PUBLIC, token).status == 403, group
    assert stack.call("GET", SECRET, stack.issuer.token("sam.1")).status == 200
    for subject in ("samX1", "sam.11", "sam.1/", "Sam.1", "sam.*"):
        assert stack.call("GET", SECRET, stack.issuer.token(subject)).status == 403, subject
    assert [each.target for each in stack.taken()] == ["/v1/secret"]


_CLAIMED = (
    *("X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-User", "X-Forwarded-Groups"),
    *("Forwarded", "X-Real-IP", "X-Client-IP", "True-Client-IP", "Remote-User", "X-Remote-User", "X-User"),
    *("X-Auth-Request-User", "X-Auth-Request-Email", "X-WEBAUTH-USER", "Client-Cert", "X-Client-Cert"),
    *(
        "X-Mw-Authorization",
        "X-Mw-Method",
        "X-Mw-Model",
        "X-Mw-Path",
        "X-Mw-Front",
        "X-Mw-Addr",
        "X-Mw-Status",
    ),
    *("X-Mw-Route", "X-Mw-Txn-Token", "X-Mw-Facts", "X-Mw-Bucket", "X-Mw-Verify", "X-Mw-Certificate"),
    *("Txn-Token", "X-Meshward-User", "X-Envoy-Original-Path", "X-Original-URI", "X-Rewrite-URL"),
    *("x_mw_path", "x_forwarded_user", "remote_user", "txn_token"),
)


def test_b01_b02_b07_what_a_client_says_about_itself_is_not_heard(stack: Stack, ann: str) -> None:
    spoofed = dict.fromkeys(_CLAIMED, "203.0.113.77") | {"X-Mw-Path": "/v1/public", "X-Mw-Status": "200"}
    assert stack.call("GET", SECRET, ann, headers=spoofed).status == 403
    assert stack.call("GET", PUBLIC, None, headers=spoofed).status == 401
    reply = stack.call("GET", PUBLIC, ann, headers=spoofed)
    assert reply.status == 200
    (arrived,) = stack.taken()
    assert "203.0.113.77" not in str(arrived.headers)
    record = _record(stack, reply)
    assert record["edge"]["ip"] == "127.0.0.1" and "203.0.113.77" not in json.dumps(record)


def test_b06_a_probes_name_opens_nothing_and_nothing_tells_about_health(stack: Stack, ann: str) -> None:
    for agent in ("GoogleHC/1.0", "kube-probe/1.30", "ELB-HealthChecker/2.0", "Envoy/HC", "curl/8"):
        for path in (PUBLIC, "/healthz", "/ready", "/ping", "/m/m.1/health"):
            reply = stack.call("GET", path, None, headers={"User-Agent": agent, "X-Envoy-Healthcheck": "1"})
            assert reply.status in (401, 404), (agent, path, reply)
    assert stack.taken() == []


def test_b11_a_mail_address_is_compared_whole(stack: Stack) -> None:
    stack.taken()
    hostile = [
        "a@corp.test@evil.test",
        "evil.test@a@corp.test",
        "A@corp.test",
        "a@corp.test ",
        "a@corp.test\n",
    ]
    for mail in [*hostile, ["a@corp.test"], {"a@corp.test": 1}, True, "", "*@corp.test", "@corp.test"]:
        reply = stack.call("GET", PUBLIC, stack.issuer.token("eve", email=mail))
        assert reply.status in (401, 403), (mail, reply)
    assert stack.taken() == []
    assert stack.call("GET", PUBLIC, stack.issuer.token("a", email="a@corp.test")).status == 200


def test_c18_one_subject_at_two_issuers_is_two_people(stack: Stack, remote: KeyServer) -> None:
    """Also while the decision about the other one is remembered, and also where one issuer signs for the other."""
    ours, theirs = stack.issuer.token("sam.1"), remote.token("sam.1")
    eventually(lambda: stack.call("GET", PUBLIC, theirs).status == 200, what="the remote issuer's keys")
    stack.taken()
    for _ in range(2):
        assert stack.call("GET", SECRET, ours).status == 200
        assert stack.call("GET", SECRET, theirs).status == 403
    forged = (
        remote.token("sam.1", kid="test-key"),
        stack.issuer.token("x", ["team.io"], iss="https://remote.test"),
    )
    for token in forged:
        assert stack.call("GET", PUBLIC, token).status == 401
    assert len(stack.taken()) == 2


def test_d04_who_loses_a_grant_is_refused(stack: Stack, ann: str) -> None:
    policy = json.loads(stack.policy.read_text())
    assert stack.call("GET", PUBLIC, ann).status == 200
    less = policy | {"grants": [grant for grant in policy["grants"] if grant["id"] != "use"]}
    change_rules(stack, less)
    try:
        eventually(lambda: stack.call("GET", PUBLIC, ann).status == 403, what="the refusal")
        stack.taken()
        assert stack.call("GET", PUBLIC, ann).status == 403 and stack.taken() == []
    finally:
        change_rules(stack, policy)
    eventually(lambda: stack.call("GET", PUBLIC, ann).status == 200, what="the grant again")


def test_d06_no_answer_is_anothers(stack: Stack, ann: str) -> None:
    """The same prompt by two people, and twice by one: each time the model is asked, and its cookie goes nowhere."""
    model = stack.models["m.1/v1"]

    def answer(request: Received, connection: socket.socket) -> None:
        head = "HTTP/1.1 200 OK\r\nCache-Control: public, max-age=600\r\nSet-Cookie: sid=1\r\nX-Accel-Expires: 600\r\n"
        connection.sendall(f"{head}Content-Length: 2\r\n\r\n".encode() + b"{}")

    plain, model.answer = model.answer, answer
    try:
        for token in (ann, stack.issuer.token("bob", ["team.io"]), ann):
            reply = stack.call("GET", PUBLIC, token)
            assert reply.status == 200 and "set-cookie" not in reply.headers
    finally:
        model.answer = plain
    assert len(model.taken()) == 3


def test_d08_a_stream_outlives_its_token_and_the_next_request_does_not(stack: Stack) -> None:
    go_on, model = threading.Event(), stack.models["m.1/v1"]
    model.taken()

    def stream(request: Received, connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        assert go_on.wait(120)
        connection.sendall(b"4\r\nlast\r\n0\r\n\r\n")

    plain, model.answer = model.answer, stream
    token = stack.issuer.token("ann", ["team.io"], exp=int(time.time()) + 5)
    try:
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(stack.call, "GET", PUBLIC, token)
            eventually(lambda: model.taken(), what="the stream's begin")
            model.answer = plain
            eventually(lambda: stack.call("GET", PUBLIC, token).status == 401, what="the token's end")
            go_on.set()
            reply = running.result(60)
    finally:
        model.answer = plain
        go_on.set()
    assert (reply.status, reply.body) == (200, b"firstlast")
    record = _record(stack, reply)
    assert record["agrees"] and record["edge"]["last"] and record["edge"]["resd"], record


@pytest.mark.parametrize("offered", [["h2"], ["h2", "http/1.1"], ["h2c"], ["spdy/3"]])
def test_g02_g03_k30_http2_is_not_spoken(stack: Stack, offered: list[str]) -> None:
    """No streams, no resets, no second Host: asked for HTTP/2, the edge agrees on nothing else than HTTP/1.1."""
    context = stack.tls()
    context.set_alpn_protocols(offered)
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9)
    with socket.create_connection(("127.0.0.1", stack.port), timeout=60) as plain:
        try:
            tls = context.wrap_socket(plain, server_hostname=stack.hostname)
        except ssl.SSLError:
            return
        with tls:
            assert tls.selected_alpn_protocol() in (None, "http/1.1")
            tls.sendall(preface)
            answer = tls.recv(65536)
            assert answer == b"" or answer.startswith(b"HTTP/1.1 4"), answer


def test_g05_k29_headers_that_never_end_are_cut_and_hold_nobody_up(stack: Stack, ann: str) -> None:
    with ExitStack() as open_ones:
        watched = open_ones.enter_context(_connection(stack, "127.0.0.3"))
        slow = [watched, *(open_ones.enter_context(_connection(stack, "127.0.0.3")) for _ in range(50))]
        for tls in slow:
            tls.sendall(f"GET {PUBLIC} HTTP/1.1\r\n".encode())
        assert stack.call("GET", PUBLIC, ann).status == 200
        answer = _when_it_ends(watched)
    assert answer is not None, "a line now and then lengthens the time"
    assert answer == b"" or b" 408 " in answer.split(b"\r\n")[0], answer


def _when_it_ends(tls: ssl.SSLSocket) -> bytes | None:
    """The edge's last word on a request that gets another header each second; None: it has none for a minute."""
    tls.settimeout(1)
    for _ in range(60):
        try:
            with suppress(TimeoutError):
                return tls.recv(65536)
            tls.sendall(b"X-A: b\r\n")
        except ConnectionError:
            return b""
    return None


def test_g05_one_address_holds_so_many_requests_and_no_more(stack: Stack, ann: str) -> None:
    """Two hundred bodies of 2 MB are what one address may make a worker hold; more are refused unread."""
    unfinished = _head(
        stack, "POST /v1/chat/completions HTTP/1.1", f"Authorization: Bearer {ann}", "Content-Length: 9999"
    )
    with ExitStack() as held:
        bodies: list[ssl.SSLSocket] = []

        def is_full() -> bool:
            """Whether every worker refuses: of many new connections each takes some."""
            for body in bodies:
                with suppress(OSError):  # it was refused
                    body.sendall(b" ")  # else it is given up after half a minute
            for _ in range(PER_ADDRESS // 4):
                bodies.append(held.enter_context(_connection(stack, "127.0.0.2")))
                bodies[-1].sendall(unfinished + b'{"model":')
            probes = [held.enter_context(_connection(stack, "127.0.0.2")) for _ in range(20)]
            return all(_asks(probe, stack, ann) == 429 for probe in probes)

        eventually(is_full, what="the limit")
        assert stack.call("GET", PUBLIC, ann).status == 200, "another address is not held up"
        refused = _raw_from(
            stack, "127.0.0.2", _head(stack, f"GET {PUBLIC} HTTP/1.1", f"Authorization: Bearer {ann}")
        )
        assert b'"too_many_open"' in refused and b"Retry-After: 1" in refused, refused
    with _connection(stack, "127.0.0.2") as probe:
        eventually(lambda: _asks(probe, stack, ann) == 200, what="room again")


def _asks(tls: ssl.SSLSocket, stack: Stack, token: str) -> int:
    tls.sendall(_head(stack, f"GET {PUBLIC} HTTP/1.1", f"Authorization: Bearer {token}"))
    return _status(tls)


def _raw_from(stack: Stack, source: str, request: bytes) -> bytes:
    with _connection(stack, source) as tls:
        tls.sendall(request)
        return tls.recv(65536)


def test_g06_k28_prompts_of_100_mb_are_refused_and_leave_nothing_on_the_disk(stack: Stack, ann: str) -> None:
    size = 100 * 1024 * 1024
    bearer = f"Authorization: Bearer {ann}"
    declared = _head(stack, f"POST {PUBLIC} HTTP/1.1", bearer, f"Content-Length: {size}")
    unknown = _head(
        stack, "POST /v1/chat/completions HTTP/1.1", "Authorization: Bearer x", f"Content-Length: {size}"
    )
    chunked = _head(stack, f"POST {PUBLIC} HTTP/1.1", bearer, "Transfer-Encoding: chunked") + b"400000\r\n"
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda head: _upload(stack, head), [declared, unknown] * 10))
        answers += list(pool.map(lambda head: _upload(stack, head, 4 << 20), [chunked] * 4))
    assert answers[:20] == [413] * 20
    assert set(answers[20:]) <= {413, 429}, (
        "one is worked on at a time; who waited 5 s for it waits no longer"
    )
    assert stack.taken() == []
    assert [path for path in (stack.run / "edge").glob("*_temp/**/*") if path.is_file()] == []
    assert stack.call("GET", PUBLIC, ann).status == 200


def _upload(stack: Stack, head: bytes, size: int = 0) -> int:
    """The status of a request of which `size` bytes of body are sent, as far as they are taken."""
    with _connection(stack) as tls:
        with suppress(OSError):
            tls.sendall(head + b" " * size)
        return _status(tls)


def test_g09_methods_that_make_tunnels_or_echoes(stack: Stack, ann: str) -> None:
    bearer = f"Authorization: Bearer {ann}"
    targets = ("/m/m.1/v1/public", "127.0.0.1:9901", "", "/", "*", "127.0.0.1:22")
    for line in [
        f"{method} {target} HTTP/1.1" for method in ("TRACE", "CONNECT", "TRACK") for target in targets
    ]:
        for more in ((), ("Upgrade: websocket", "Connection: Upgrade"), ("Max-Forwards: 0",)):
            answer = stack.raw(_head(stack, line, bearer, *more, "Connection: close"), 3) or b"HTTP/1.1 400 "
            assert int(answer.split(b" ", 2)[1]) in (400, 405), (line, more, answer[:200])
    assert stack.taken() == []


def test_k27_headers_too_large_or_too_many_are_431(stack: Stack, ann: str) -> None:
    bearer = f"Authorization: Bearer {ann}"
    cases: dict[str, tuple[list[str], set[int]]] = {
        "a token of 9 kB": ([f"Authorization: Bearer {'x' * 9000}"], {431}),
        "a token of 8 kB, not one": ([f"Authorization: Bearer {_long(stack, 6000)}"], {401, 431}),
        "3,000 headers": ([bearer, *(f"X-{n}: a" for n in range(3000))], {431}),
        "101 headers": ([bearer, *(f"X-{n}: a" for n in range(101))], {431}),
        "40 kB in 90 headers": ([bearer, *(f"X-{n}: {'a' * 450}" for n in range(90))], {431}),
        "a name of 9 kB": ([bearer, "X-" + "n" * 9000 + ": a"], {431}),
    }
    for what, (headers, allowed) in cases.items():
        answer = stack.raw(_head(stack, f"GET {PUBLIC} HTTP/1.1", *headers))
        assert int(answer.split(b" ", 2)[1]) in allowed, (what, answer[:300])
    assert stack.taken() == []
    assert stack.call("GET", PUBLIC, ann).status == 200


def _long(stack: Stack, size: int) -> str:
    """Three parts of base64, the middle one no JSON."""
    filling = base64.urlsafe_b64encode(b"x" * (size * 3 // 4)).decode().rstrip("=")
    header, _, signature = stack.issuer.token("ann", ["team.io"]).split(".")
    return f"{header}.{filling}.{signature}"
