"""What passes unchanged, what is taken off, and what is no request at all."""

from __future__ import annotations

import base64
import contextlib
import json
from pathlib import Path

import pytest
from guard_harness import HOST, Guard, running

# Spellings that some reader takes for a permitted route. Only the exact one may pass.
SPELLINGS = [
    "/v1%2fpublic",
    "/v1%2Fembeddings",
    "/v1%5cpublic",
    f"http://{HOST}/embed",
    "//embed",
    "/./embed",
    "/a/../embed",
    "/%65mbed",
    "/embe%64",
    "/a/%2e%2e/embed",
    "/a/..%2fembed",
    "/a%2f..%2fembed",
    "/..;/embed",
    "/a/..;/embed",
    "/a\\..\\embed",
    "\\embed",
    "/embed/",
    "/embed;x=1",
    "/embed%00",
    "/embed%20",
    "/embed%0a",
    "/embed#x",
    "/Embed",
    "/embed.",
    "/embed%3fx",
    "/embed%23",
    "/info/../embed",
    "/%2fembed",
    "*",
    "embed",
    "http://evil.test/embed",
    "http:/embed",
    "/embed\xff",
    "/em\xe9bed",
]


@pytest.mark.parametrize("target", SPELLINGS)
def test_only_the_exact_path(guard: Guard, target: str) -> None:
    with contextlib.suppress(EOFError):  # cut off without an answer: refused as well
        assert guard.ask(target).status in (400, 403, 404)
    assert guard.model.seen == []


def test_path_and_query_arrive_byte_for_byte(guard: Guard) -> None:
    for target in ("/embed", "/embed?", "/embed?a=%2F..%2f&b=//x;y=|", "/embed?/../secret"):
        assert guard.ask(target).status == 200
    assert [seen.target for seen in guard.model.seen] == [
        "/embed",
        "/embed?",
        "/embed?a=%2F..%2f&b=//x;y=|",
        "/embed?/../secret",
    ]


def test_the_path_vectors(guard: Guard, shared_data: Path) -> None:
    rows = json.loads((shared_data / "vectors" / "paths_visible.json").read_text())["paths"]
    assert len(rows) > 20
    for row in rows:
        guard.model.seen.clear()
        try:
            status = guard.ask(row["target"]).status  # may use /v1/public, not /v1/secret
        except EOFError:
            status = 400
        permitted = row["want"] == "policy-decides-on-/v1/public"
        assert (status == 200) == permitted, row
        assert [seen.target for seen in guard.model.seen] == ([row["target"]] if permitted else []), row


def test_the_http_vectors_never_reach_the_model_with_anything_hostile(
    guard: Guard, shared_data: Path
) -> None:
    """Written for the edge; here the edge itself sends them, with a token for `infer`."""
    rows = json.loads((shared_data / "vectors" / "http1_visible.json").read_text())["requests"]
    for row in rows:
        guard.model.seen.clear()
        raw = base64.b64decode(row["raw_b64"]).replace(b"{HOSTUPPER}", guard.view.dns_name.upper().encode())
        raw = raw.replace(b"{HOST}", guard.view.dns_name.encode()).replace(b"{TOKEN}", b"t")
        head, separator, rest = raw.partition(b"\r\n")
        connection = guard.connect()
        connection.settimeout(1)
        try:
            guard.send(head + separator + f"Txn-Token: {guard.token()}\r\n".encode() + rest, connection)
        except (EOFError, OSError, ValueError):
            pass
        finally:
            connection.close()
        for seen in guard.model.seen:
            assert seen.target.partition("?")[0] == "/v1/public", row["id"]
            names = {name.lower() for name, _ in seen.headers}
            assert not names & {"txn-token", "authorization", "cookie", "x-forwarded-for"}, row["id"]


@pytest.mark.parametrize(
    "host", ["evil.test", "v1.m-1.td.test.evil.test", "m-1.td.test", "", "v1.m-1.td.test:1"]
)
def test_another_host(guard: Guard, host: str) -> None:
    raw = f"POST /embed HTTP/1.1\r\nHost: {host}\r\nTxn-Token: {guard.token()}\r\nContent-Length: 0\r\n\r\n"
    assert guard.send(raw.encode()).status in (400, 403)
    assert guard.model.seen == []


@pytest.mark.parametrize(
    "lines",
    [
        "Host: {host}\r\nHost: {host}\r\nContent-Length: 0",
        "Host: {host}\r\nHost: evil.test\r\nContent-Length: 0",
        "Content-Length: 0",
        "Host: {host}\r\nContent-Length: 0\r\nContent-Length: 2",
        "Host: {host}\r\nContent-Length: 5\r\nTransfer-Encoding: chunked",
        "Host: {host}\r\nTransfer-Encoding: chunked, chunked",
        "Host: {host}\r\nTransfer-Encoding: x",
        "Host: {host}\r\nContent-Length: -1",
        "Host: {host}\r\nContent-Length: 0\r\nx_mw_user: root",
        "Host: {host}\r\nContent-Length: 0\r\nX-A: a\x00b",
        "Host: {host}\r\nContent-Length : 0",
    ],
)
def test_what_is_no_request(guard: Guard, lines: str) -> None:
    own = lines.format(host=guard.view.dns_name)
    raw = f"POST /embed HTTP/1.1\r\nTxn-Token: {guard.token()}\r\n{own}\r\n\r\n"
    with contextlib.suppress(EOFError):
        assert guard.send(raw.encode("latin-1")).status in (400, 403, 501)
    assert guard.model.seen == []


def test_one_bad_request_leaves_the_others_alone(guard: Guard) -> None:
    good = guard.connect()
    assert guard.ask(connection=good).status == 200
    assert guard.ask(host="evil.test").status == 403
    assert guard.ask(connection=good).status == 200


def test_nothing_that_names_a_caller_reaches_the_model(guard: Guard) -> None:
    hostile = (
        "Authorization",
        "Proxy-Authorization",
        "Cookie",
        "Forwarded",
        "Remote-User",
        "X-Forwarded-For",
        "X-Forwarded-Proto",
        "X-Forwarded-Host",
        "X-Forwarded-Client-Cert",
        "X-Real-IP",
        "X-Envoy-Original-Path",
        "X-Envoy-External-Address",
        "X-Envoy-Internal",
        "X-Envoy-Retry-On",
        "X-Envoy-Attempt-Count",
        "X-Envoy-Upstream-Rq-Timeout-Ms",
        "x-mw-sub",
        "X-Meshward-User",
        "X-ENVOY-Anything",
    )
    assert guard.ask(headers=tuple((name, "canary") for name in hostile)).status == 200
    (seen,) = guard.model.seen
    assert {name.lower() for name, _ in seen.headers} == {"host", "x-request-id", "content-length"}
    assert "canary" not in str(seen.headers)


def test_what_the_edge_sends_arrives_and_nothing_is_added(guard: Guard) -> None:
    sent = (
        ("content-type", "application/json"),
        ("accept", "text/event-stream"),
        ("accept-encoding", "identity"),
        ("user-agent", "ua/1"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("content-digest", "sha-256=:RBNvo1WzZ4oRRq0W9+hknpT7T8If536DEMBg9hyq/4o=:"),
    )
    assert guard.ask(headers=sent).status == 200
    (seen,) = guard.model.seen
    own = {("host", guard.view.dns_name), ("x-request-id", "rid-1"), ("content-length", "2")}
    assert {(name.lower(), value) for name, value in seen.headers} == own | set(sent)
    assert seen.body == b"{}"


def test_no_request_id_is_made_up(guard: Guard) -> None:
    raw = f"GET /info HTTP/1.1\r\nHost: {guard.view.dns_name}\r\nTxn-Token: {guard.token('describe')}\r\n\r\n"
    assert guard.send(raw.encode()).status == 200
    assert guard.model.seen[0].header("x-request-id") is None


def test_a_model_cannot_speak_as_the_guard(guard: Guard) -> None:
    guard.model.answer_headers = [
        ("X-Mw-Layer", "guard"),
        ("X-Mw-Reason", "ok"),
        ("X-Envoy-Overloaded", "1"),
        ("X-Own", "1"),
    ]
    answer = guard.ask()
    assert "x-own" in answer.headers
    assert not {"x-mw-layer", "x-mw-reason", "server"} & set(answer.headers)


def test_body_size(guard: Guard) -> None:
    assert guard.ask(body=b"x" * guard.view.max_body).status == 200
    assert guard.model.seen[0].body == b"x" * guard.view.max_body
    guard.model.seen.clear()
    answer = guard.ask(body=b"x" * (guard.view.max_body + 1))
    assert (answer.status, answer.json["error_type"]) == (413, "body_too_large")
    chunk = b"%x\r\n%s\r\n" % (70_000, b"x" * 70_000)
    head = f"POST /embed HTTP/1.1\r\nHost: {guard.view.dns_name}\r\nTxn-Token: {guard.token()}\r\n"
    raw = head + "Transfer-Encoding: chunked\r\n\r\n"
    assert guard.send(raw.encode() + chunk * 2).status == 413
    assert guard.model.seen == []


def test_a_model_is_told_who_asks_where_its_version_says_so() -> None:
    """The guard's own word for it: not what came, and no name that could end the header and begin another."""
    with running(told=("subject",)) as guard:
        spoofed = (("X-Meshward-Subject", "okta:root"), ("x-meshward-subject", "okta:root"))
        assert guard.ask(headers=spoofed).status == 200
        (seen,) = guard.model.seen
        assert [value for name, value in seen.headers if name.lower() == "x-meshward-subject"] == [
            "okta:alice"
        ]
        own = {"host", "x-request-id", "content-length", "x-meshward-subject"}
        assert {name.lower() for name, _ in seen.headers} == own
        guard.model.seen.clear()
        for hostile in ("okta:a\r\nX-Admin: 1", "okta:a\n", "okta:\x00", "\x7f:a", "a\tb:c"):
            assert guard.ask(token=guard.token(sub=hostile)).status == 401, hostile
        assert guard.model.seen == []


def test_claims_that_came_as_headers_are_not_taken_for_the_tokens() -> None:
    """Neither by the net nor by the log, nor by what looks for the revoked."""
    names = ("x-mw-sub", "x-mw-grant", "x-mw-rev", "x-mw-txn", "X-MW-ACT-1", "X-Mw-Sub")
    with running(agents=True, revoked=("okta:alice",)) as guard:
        spoofed = tuple((name, "okta:bob") for name in names)
        assert guard.ask(headers=spoofed).status == 403
        assert guard.ask(token=guard.token(sub="okta:eve"), headers=spoofed).status == 200
        assert str(guard.log_lines(2)[1]["who"]).endswith(" m.1.infer okta:eve")
        assert {name.lower() for name, _ in guard.model.seen[0].headers} == {
            "host",
            "x-request-id",
            "content-length",
        }
        guard.model.seen.clear()
        bare = guard.token(tctx={"model": "m.1", "action": "infer", "rev": "7"}, sub="okta:eve")
        assert guard.ask(token=bare, headers=(("x-mw-grant", "g-2"),)).status == 403
        assert guard.model.seen == []


def test_a_body_without_a_length_is_counted() -> None:
    """And one whose length is told may be anything up to it: what comes is what was told."""
    with running(max_body=10) as guard:
        head = f"POST /embed HTTP/1.1\r\nHost: {guard.view.dns_name}\r\nTxn-Token: {guard.token()}\r\n"
        chunked = head + "Transfer-Encoding: chunked\r\n\r\n"
        assert guard.send(chunked.encode() + b"5\r\nxxxxx\r\n5\r\nxxxxx\r\n0\r\n\r\n").status == 200
        guard.model.seen.clear()
        for raw in (b"b\r\n" + b"x" * 11, b"5\r\nxxxxx\r\n6\r\nxxxxxx"):
            assert guard.send(chunked.encode() + raw + b"\r\n0\r\n\r\n").status == 413
        for length in ("11", "99999999999999999999", "-1", "10, 11", "+10", "0x5"):
            with contextlib.suppress(EOFError):
                answer = guard.send(head.encode() + f"Content-Length: {length}\r\n\r\n".encode() + b"x" * 11)
                assert answer.status in (400, 413), length
        assert guard.model.seen == []
