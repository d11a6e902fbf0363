"""What goes on to a guard and what comes back: bytes, headers, digests, versions, limits, streams."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import hashlib
import re
import signal
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from edge_harness import DOMAIN, GUARDS, Answer, Edge, held, message, permit, running, who

from meshward.testing.waiting import eventually


def _digest(data: bytes) -> str:
    return base64.b64encode(hashlib.sha256(data).digest()).decode()


@pytest.mark.parametrize(
    ("target", "reaches"),
    [
        ("/m/minilm", "/"),
        ("/m/minilm/", "/"),
        ("/m/minilm?", "/?"),
        ("/m/minilm?a=/m/x", "/?a=/m/x"),
        ("/m/minilm/?", "/?"),
        ("/m/minilm/embed", "/embed"),
        ("/m/minilm/embed?", "/embed?"),
        ("/m/minilm/embed??", "/embed??"),
        ("/m/minilm/embed/", "/embed/"),
        ("/m/minilm/a:b@c~d/e.f-g_h", "/a:b@c~d/e.f-g_h"),
        ("/m/minilm/x?a=%2Fx&b=c+d%20e&q=[1]|{}", "/x?a=%2Fx&b=c+d%20e&q=[1]|{}"),
        ("/m/minilm/x?%00%0d%0a$host${x}\"'\\;`<>^", "/x?%00%0d%0a$host${x}\"'\\;`<>^"),
        ("/m/minilm/x?/../y", "/x?/../y"),
        ("/m/minilm/m/minilm/x", "/m/minilm/x"),
    ],
)
def test_path_and_query_arrive_byte_for_byte(edge: Edge, target: str, reaches: str) -> None:
    assert edge.request("GET", target).status == 200
    assert [r.line for r in edge.seen()] == [f"GET {reaches} HTTP/1.1"]
    assert edge.decision.received[0].get("X-Mw-Path") == reaches.split("?")[0]


_SPOOFED = """Txn-Token X-Request-Id X-Forwarded-For X-Forwarded-User X-Forwarded-Host Forwarded X-Real-Ip
Remote-User X-User X-Mw-Route X-Mw-Slot X-Mw-Facts Content-Digest Cookie Authorization2 Proxy-Authorization
X-Original-Uri X-Http-Method-Override X-Envoy-Original-Path X-Accel-Redirect Te Trailer Via Baggage Tracestate
Accept-Encoding Accept-Language Referer Origin Range If-None-Match X-Custom Content-Language"""


def test_only_listed_headers_go_on(edge: Edge) -> None:
    spoofed = dict.fromkeys(_SPOOFED.split(), "spoofed")
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    passed = {
        "Content_Type": "application/json",
        "Accept": "text/x",
        "User_Agent": "me/1",
        "traceparent": trace,
    }
    answer = edge.request("POST", "/m/minilm/a", body=b"hi", **spoofed, **passed)
    (request,) = edge.seen()
    token = request.get("Txn-Token")
    assert dict(request.headers) == {
        "Host": GUARDS[0],
        "Txn-Token": token,
        "X-Request-Id": answer.get("X-Request-Id"),
        "Content-Digest": f"sha-256=:{_digest(b'hi')}:",
        "Accept-Encoding": "identity",
        "Content-Type": "application/json",
        "Accept": "text/x",
        "User-Agent": "me/1",
        "traceparent": trace,
        "Content-Length": "2",
    }
    assert token and token.startswith("h.") and "spoofed" not in token
    assert len(request.headers) == 10


def test_headers_that_are_not_printable_do_not_go_on(edge: Edge) -> None:
    edge.request(
        "GET", "/m/minilm/a", Accept="a\xffb", User_Agent="a\x01b", traceparent="00-xyz", Content_Type="\xe9"
    )
    names = {name for name, _ in edge.seen()[0].headers}
    assert names == {"Host", "Txn-Token", "X-Request-Id", "Content-Digest", "Accept-Encoding"}


@pytest.mark.parametrize(
    "body", [b"", b"x", b"\x00\xff\xfe" * 100, b"a" * 16_384, b"a" * 16_385, b"a" * 200_000]
)
def test_a_body_and_its_digest(edge: Edge, body: bytes) -> None:
    answer = edge.request("POST", "/m/minilm/a", body=body)
    (request,) = edge.seen()
    assert request.body == body
    assert request.get("Content-Digest") == f"sha-256=:{_digest(body)}:"
    line = edge.line(answer.get("X-Request-Id"))
    assert (line["reqd"], line["resd"], line["last"]) == (_digest(body), _digest(answer.body), "1")
    assert (line["bytes_in"], line["status"], line["done"]) == (str(len(body)), "200", "OK")


def test_no_body_and_a_body_of_nothing_have_the_digest_of_nothing(edge: Edge) -> None:
    for body in (None, b""):
        edge.request("POST", "/m/minilm/a", body=body)
    assert [r.get("Content-Digest") for r in edge.seen()] == [f"sha-256=:{_digest(b'')}:"] * 2


def test_a_chunked_body_goes_on_with_its_length(edge: Edge) -> None:
    head = message("POST", "/m/minilm/a", Transfer_Encoding="chunked")
    with edge.client() as client:
        client.send(head + b"5\r\nhello\r\n")
        client.send(b"6;x=y\r\n world\r\n0\r\nX-Trailer: Txn-Token\r\n\r\n")
        assert client.response().status == 200
    (request,) = edge.seen()
    assert (request.body, request.get("Content-Length")) == (b"hello world", "11")
    assert request.get("X-Trailer") is None
    assert request.get("Content-Digest") == f"sha-256=:{_digest(b'hello world')}:"


def test_expect_100_continue(edge: Edge) -> None:
    with edge.client() as client:
        client.send(message("POST", "/m/minilm/a", Expect="100-continue", Content_Length="2"))
        assert client.head().status == 100
        client.send(b"hi")
        assert client.response().status == 200
    assert edge.seen()[0].body == b"hi" and edge.seen()[0].get("Expect") is None


def test_a_refused_upload_is_answered_before_it_is_sent(edge: Edge) -> None:
    """So that nobody fills the memory before anybody knows them."""
    with edge.client() as client:
        client.send(message("POST", "/m/minilm/a", None, Content_Length="200000"))
        assert client.response().status == 401


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_over_the_buffer_is_413(edge: Edge, chunked: bool) -> None:
    body = b"a" * 200_001
    data = message("POST", "/m/minilm/a", body=body)
    if chunked:
        framed = b"%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n"
        data = message("POST", "/m/minilm/a", Transfer_Encoding="chunked") + framed
    answer = edge.raw(data)
    assert answer.startswith(b"HTTP/1.1 413 ") and b'"error_type":"body_too_large"' in answer
    assert edge.seen() == []


def test_a_models_own_size_is_kept(edge: Edge) -> None:
    edge.decision.answer = lambda _: permit(mw_route=f"10|1 00 {GUARDS[0]}")
    assert edge.request("POST", "/m/minilm/a", body=b"a" * 10).status == 200
    answer = edge.request("POST", "/m/minilm/a", body=b"a" * 11)
    assert (answer.status, answer.json()["error_type"]) == (413, "body_too_large")
    assert len(edge.seen()) == 1


def test_head_has_no_body_and_a_log_line(edge: Edge) -> None:
    answer = edge.request("HEAD", "/m/minilm/a")
    assert (answer.status, answer.body, answer.get("Content-Length")) == (200, b"", "11")
    assert edge.seen()[0].method == "HEAD"
    line = edge.line(answer.get("X-Request-Id"))
    assert (line["method"], line["resd"]) == ("HEAD", "")
    refused = edge.request("HEAD", "/m/minilm/a", None)
    assert (refused.status, refused.get("X-Error-Message")) == (401, "Send a token.")


@pytest.mark.parametrize("status", [204, 304, 200])
def test_answers_without_a_body_end_and_have_the_digest_of_nothing(edge: Edge, status: int) -> None:
    edge.guard.answer = lambda _: Answer(status)
    answer = edge.request("GET", "/m/minilm/a")
    assert (answer.status, answer.body) == (status, b"")
    line = edge.line(answer.get("X-Request-Id"))
    assert line["last"] == "1" and line["resd"] == _digest(b"")


@pytest.mark.parametrize("status", [400, 401, 403, 404, 418, 429, 500, 502, 503])
def test_a_models_own_errors_pass_as_they_are(edge: Edge, status: int) -> None:
    edge.guard.answer = lambda _: Answer(status, {"Content-Type": "application/json"}, b'{"error":"mine"}')
    answer = edge.request("GET", "/m/minilm/a")
    assert (answer.status, answer.body) == (status, b'{"error":"mine"}')
    line = edge.line(answer.get("X-Request-Id"))
    assert (line["layer"], line["reason"], line["resd"]) == ("", "", _digest(answer.body))


def test_a_model_cannot_speak_for_the_edge(edge: Edge) -> None:
    headers = {
        "X-Accel-Redirect": "/_decide",
        "X-Accel-Expires": "100",
        "X-Accel-Limit-Rate": "1000",
        "X-Accel-Buffering": "yes",
        "X-Request-Id": "mine",
        "Server": "me",
        "Set-Cookie": "a=b",
        "WWW-Authenticate": 'Bearer resource_metadata="https://evil.test"',
        "Txn-Token": "x",
        "X-Mw-Status": "200",
        "X-Mw-Txn-Token": "x",
        "X-Envoy-Upstream-Service-Time": "1",
        "Alt-Svc": 'h2="evil.test:443"',
        "Strict-Transport-Security": "max-age=0",
        "X-Compute-Time": "12",
    }
    edge.guard.answer = lambda _: Answer(200, headers, b"mine" * 100)
    answer = edge.request("GET", "/m/minilm/a")
    assert (answer.status, answer.body) == (200, b"mine" * 100)
    names = {name.lower() for name, _ in answer.headers}
    assert names == {"server", "date", "content-length", "connection", "x-request-id", "x-compute-time"}
    assert answer.get("Server") == "nginx" and answer.get("X-Request-Id") != "mine"
    assert len(edge.decision.received) == 1


_SPEAKS = b"Set-Cookie: a=b\r\nX-Request-Id: mine\r\nWWW-Authenticate: Bearer\r\nContent-Length: 2\r\n\r\nok"


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("line", ["HTTP/1.1 1000 Unknown", "HTTP/1.1 20 OK", "ICY 200 OK", "{}"])
def test_a_head_that_is_none_is_not_passed_on_as_the_body(edge: Edge, line: str, method: str) -> None:
    """Envoy passes on a status of four digits. nginx takes such a line for an answer without a head, which has none of
    its own either: the client would read the model's, with all that is hidden of others.
    """
    edge.guard.answer = lambda _: Answer(raw=f"{line}\r\n".encode() + _SPEAKS)
    path = f"/none/{method}/{len(line)}"
    assert edge.raw(message(method, f"/m/minilm{path}")) == b""
    written = eventually(lambda: [each for each in edge.lines() if each["path"] == path])
    assert [(each["reason"], each["last"]) for each in written] == [("model_answer_invalid", "")]


@pytest.mark.parametrize("status", [100, 101, 102, 103, 199])
def test_an_interim_answer_is_no_answer(edge: Edge, status: int) -> None:
    """Envoy passes on a 101 that nobody asked for. Behind it a client reads whatever comes as the model's own."""
    edge.guard.answer = lambda _: Answer(
        raw=f"HTTP/1.1 {status} X\r\n\r\nHTTP/1.1 200 OK\r\n".encode() + _SPEAKS
    )
    assert edge.raw(message("GET", "/m/minilm/a")) == b""


@pytest.mark.parametrize("place", ["/_decide", "@go", "/m/minilm/secret", "/etc/passwd", "/_err/200"])
def test_x_accel_redirect_is_inert(edge: Edge, place: str) -> None:
    edge.guard.answer = lambda _: Answer(200, {"X-Accel-Redirect": place}, b"mine")
    assert edge.request("GET", "/m/minilm/a").body == b"mine"
    assert len(edge.seen()) == 1


def test_versions_get_their_weights(edge: Edge) -> None:
    edge.decision.answer = lambda _: permit(mw_route=f"1000|3 00 {GUARDS[0]}|1 01 {GUARDS[1]}")
    with edge.client() as client:
        for _ in range(400):
            assert client.request("GET", "/m/minilm/a").status == 200
    found = Counter(r.get("Host") for r in edge.seen())
    assert 240 < found[GUARDS[0]] < 360 and found[GUARDS[1]] == 400 - found[GUARDS[0]]
    assert all(r.get("Host") == GUARDS[slot] for slot, guard in edge.guards.items() for r in guard.received)


def test_weights_change_with_the_next_request_and_without_a_reload(edge: Edge) -> None:
    with edge.client() as client:
        for slot in (0, 1, 0, 1):
            edge.decision.answer = lambda _, s=slot: permit(mw_route=f"1000|1 {s:02d} {GUARDS[s]}")  # type: ignore[misc]
            edge.bump()
            assert client.request("GET", "/m/minilm/a").status == 200
    assert [len(guard.received) for guard in edge.guards.values()] == [2, 2]


def test_limits_count_per_bucket_and_rate(edge: Edge) -> None:
    edge.decision.answer = lambda r: permit(
        mw_limit="3r/m", mw_bucket=(r.get("X-Mw-Authorization") or "")[-1] * 32
    )
    with edge.client() as client:
        assert [client.request("GET", "/m/minilm/a", "ok-1").status for _ in range(4)] == [200] * 3 + [429]
        assert client.request("GET", "/m/other/b", "ok-1").status == 429, "one bucket over all models"
        assert client.request("GET", "/m/minilm/a", "xx-1").status == 429, "one bucket whatever the token"
        assert [client.request("GET", "/m/minilm/a", "ok-2").status for _ in range(4)] == [200] * 3 + [429]
        edge.decision.answer = lambda _: permit(mw_limit="", mw_bucket="1" * 32)
        edge.bump()
        assert [client.request("GET", "/m/minilm/a", "ok-1").status for _ in range(9)] == [200] * 9
        edge.decision.answer = lambda _: permit(mw_limit="3r/m", mw_bucket="1" * 32)
        edge.bump()
        refused = client.request("GET", "/m/minilm/a", "ok-1")
    assert (refused.status, refused.get("Retry-After")) == (429, "20")
    assert refused.json()["error_type"] == "rate_limited"
    # The fifth of them: of more in one second the log has the count alone.
    line = edge.line(refused.get("X-Request-Id"))
    assert (line["reason"], line["layer"], line["status"]) == ("rate_limited", "edge", "429")
    assert line["facts"], "a refused identity is still known"


def test_a_limit_holds_on_v1_too(edge: Edge) -> None:
    edge.decision.answer = lambda r: (
        permit(mw_limit="3r/m", mw_bucket="a" * 32) if r.get("X-Mw-Model") else who()
    )
    body = b'{"model":"minilm"}'
    with edge.client() as client:
        found = [client.request("POST", "/v1/x", body=body) for _ in range(4)]
    assert [r.status for r in found] == [200, 200, 200, 429]
    assert found[3].json()["error"]["type"] == "rate_limit_error"


def test_a_new_rate_comes_with_a_reload_that_breaks_nothing() -> None:
    with running() as edge, edge.client() as client:
        edge.decision.answer = lambda _: permit(mw_limit="5r/m", mw_bucket="b" * 32)
        assert client.request("GET", "/m/minilm/a").status == 503, "no zone counts it, so nobody passes"
        settings = dataclasses.replace(edge.settings, rates=("5r/m", "2r/s"))
        for name, data in edge.files(settings).items():
            edge.put(name, data)
        assert edge.process
        edge.process.send_signal(signal.SIGHUP)
        eventually(lambda: edge.request("GET", "/m/minilm/a").status == 429)
        assert len(edge.seen()) == 5, "a bucket of five"


def test_a_stream_is_passed_on_event_by_event_with_its_digest(edge: Edge) -> None:
    step = asyncio.Event()

    async def events(writer: asyncio.StreamWriter) -> None:
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        for n in range(3):
            event = b"data: %d\n\n" % n
            writer.write(b"%x\r\n%b\r\n" % (len(event), event))
            await writer.drain()
            await step.wait()
            step.clear()
        writer.write(b"0\r\n\r\n")
        await writer.drain()

    edge.guard.answer = lambda _: Answer(stream=events)
    with edge.client() as client:
        client.send(message("POST", "/m/minilm/v1/chat/completions", body=b"{}"))
        head = client.head()
        for n in range(3):
            assert client.chunk() == b"data: %d\n\n" % n, "each event arrives before the next one is made"
            edge.loop.loop.call_soon_threadsafe(step.set)
        assert client.chunk() == b""
    line = edge.line(head.get("X-Request-Id"))
    assert (line["last"], line["done"]) == ("1", "OK")
    assert line["resd"] == _digest(b"data: 0\n\ndata: 1\n\ndata: 2\n\n")


def test_a_stream_that_the_model_cuts_is_broken_for_the_client_and_not_last_in_the_log(edge: Edge) -> None:
    async def cut(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.transport.abort()

    edge.guard.answer = lambda _: Answer(stream=cut)
    with edge.client() as client:
        client.send(message("GET", "/m/minilm/a"))
        head = client.head()
        assert client.chunk() == b"abc"
        with pytest.raises(OSError):
            client.chunk()
    line = edge.line(head.get("X-Request-Id"))
    assert (line["last"], line["resd"]) == ("", _digest(b"abc"))


def test_a_client_that_leaves_ends_the_upstream_too(edge: Edge) -> None:
    gone = []

    async def forever(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        try:
            while not writer.is_closing():
                writer.write(b"1\r\na\r\n")
                await writer.drain()
                await asyncio.sleep(0.02)
        finally:
            gone.append(1)

    edge.guard.answer = lambda _: Answer(stream=forever)
    with edge.client() as client:
        client.send(message("GET", "/m/minilm/a"))
        head = client.head()
        client.chunk()
    eventually(lambda: gone)
    line = edge.line(head.get("X-Request-Id"))
    assert (line["done"], line["last"]) == ("", "")


def test_pipelined_requests_are_each_decided(edge: Edge) -> None:
    data = message("GET", "/m/minilm/a") + message("GET", "/m/minilm/b", "no") + message("GET", "/m/minilm/c")
    with edge.client() as client:
        client.send(data)
        assert [client.response().status for _ in range(3)] == [200, 403, 200]
    assert [r.target for r in edge.seen()] == ["/a", "/c"]


def test_a_guard_that_is_not_there_is_guard_unavailable(edge: Edge) -> None:
    edge.decision.answer = lambda _: permit(mw_route="1000|1 07 v1.other.td.test")
    answer = edge.request("GET", "/m/minilm/a")
    told = answer.json()
    assert (answer.status, told["error_type"], told["layer"]) == (502, "guard_unavailable", "guard")
    line = edge.line(answer.get("X-Request-Id"))
    assert (line["layer"], line["reason"]) == ("guard", "guard_unavailable")
    assert line["guard"] == "v1.other.td.test"


def test_a_guard_that_is_silent_is_guard_unavailable() -> None:
    go = threading.Event()
    with running(longest_timeout=1) as edge:
        edge.guard.answer = lambda _: held(Answer(200), go)
        answer = edge.request("GET", "/m/minilm/a")
        go.set()
    assert (answer.status, answer.json()["error_type"]) == (504, "guard_unavailable")


def test_a_request_is_never_sent_twice(edge: Edge) -> None:
    """Not even a GET, not even when a pooled connection turns out to be dead."""

    async def die(writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    edge.request("GET", "/m/minilm/a")
    edge.guard.answer = lambda _: Answer(stream=die)
    assert edge.request("GET", "/m/minilm/b").status == 502
    assert edge.request("POST", "/m/minilm/c", body=b"x").status == 502
    assert [r.target for r in edge.seen()] == ["/a", "/b", "/c"]


def test_connections_to_a_guard_are_kept(edge: Edge) -> None:
    before = edge.guard.connections
    with edge.client() as client:
        for _ in range(20):
            client.request("GET", "/m/minilm/a")
    assert edge.guard.connections - before <= 1


def test_many_at_once_each_get_their_own_answer(edge: Edge) -> None:
    edge.guard.answer = lambda r: Answer(200, {}, r.target.encode() + r.body)

    def ask(n: int) -> bool:
        return edge.request("POST", f"/m/minilm/{n}", body=b"#%d" % n).body == b"/%d#%d" % (n, n)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(64)))


def test_the_edge_presents_its_spiffe_id(edge: Edge) -> None:
    edge.guard.stop()  # else a pooled connection of a test before
    edge.guard.start()
    edge.request("GET", "/m/minilm/a")
    peer = edge.seen()[0].peer
    assert peer and peer["subjectAltName"] == (("URI", f"spiffe://{DOMAIN}/edge"),)
    assert re.fullmatch("[0-9a-f]{32}", edge.seen()[0].get("X-Request-Id") or "")
