"""What the edge refuses before it asks anybody: targets, hosts, methods, framings. No guard sees it."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from edge_harness import HOST, Edge, message

_POST = b"Content-Length: 2\r\n\r\nhi"


def _status(answer: bytes) -> int:
    return int(answer.split(b" ")[1])


def _request(
    target: bytes, host: bytes = HOST.encode(), method: bytes = b"GET", more: bytes = b"\r\n"
) -> bytes:
    head = method + b" " + target + b" HTTP/1.1\r\nHost: " + host + b"\r\nAuthorization: Bearer ok\r\n"
    return head + b"Connection: close\r\n" + more


def test_every_path_that_is_not_canonical_is_refused(edge: Edge, shared_data: Path) -> None:
    rows = json.loads((shared_data / "vectors/paths_visible.json").read_text())["paths"]
    for row in rows:
        edge.reset()
        below = row["target"] if not row["target"].startswith("/") else "/m/minilm" + row["target"]
        answer = edge.raw(_request(below.encode("latin-1")))
        if row["want"] == "reject":
            assert _status(answer) in (400, 404, 421), (row, answer)
            assert edge.seen() == [] and edge.decision.received == [], row
        else:
            assert _status(answer) == 200, (row, answer)
            assert [r.target for r in edge.seen()] == [row["target"]], row
            assert [r.get("X-Mw-Path") for r in edge.decision.received] == [row["target"].split("?")[0]], row


def test_hostile_requests(edge: Edge, shared_data: Path) -> None:
    rows = json.loads((shared_data / "vectors/http1_visible.json").read_text())["requests"]
    for row in rows:
        edge.reset()
        raw = (
            base64.b64decode(row["raw_b64"])
            .replace(b" /v1/", b" /m/minilm/v1/")
            .replace(b"evil.test/v1/", b"evil.test/m/minilm/v1/")
        )
        names = {b"{HOST}": HOST, b"{HOSTUPPER}": HOST.upper(), b"{TOKEN}": "ok-canary"}
        for name, value in names.items():
            raw = raw.replace(name, value.encode())
        answer = edge.raw(raw)
        want = row["want"]
        if row["id"] == "framing-chunk-ext-lf":
            assert len(edge.seen()) <= 1  # an extension with a bare LF: read and framed anew, or refused
            continue
        assert answer, row
        statuses = _wanted(want)
        assert _status(answer) in statuses, (row["id"], want, answer)
        if 200 not in statuses:
            assert edge.seen() == [], row
        assert len(edge.seen()) <= 1, row
        for request in edge.seen():
            text = str(request.headers).lower()
            assert "root" not in text and "ok-canary" not in text and "alg" not in text, row


def _wanted(want: str) -> set[int]:
    if want.startswith("forwarded-without-it-or"):
        return {200, 400}
    if want.startswith(("forwarded", "decision", "same", "one upstream")):
        return {200}
    return {
        int(n)
        for n in want.replace(",", " ").replace("/", " ").split()
        if n.isdigit() and n not in ("200", "500")
    }


@pytest.mark.parametrize("host", ["models.test", "MODELS.test", "models.test:{port}"])
def test_hosts_that_are_ours(edge: Edge, host: str) -> None:
    assert _status(edge.raw(_request(b"/m/minilm/a", host.format(port=edge.port).encode()))) == 200
    assert len(edge.seen()) == 1


@pytest.mark.parametrize(
    "host",
    [
        "evil.test",
        "models.test.",
        "models.test:1",
        "models.test:",
        "127.0.0.1",
        "xmodels.test",
        "a.models.test",
        "localhost",
    ],
)
def test_hosts_that_are_not(edge: Edge, host: str) -> None:
    answer = edge.raw(_request(b"/m/minilm/a", host.encode()))
    assert _status(answer) == 421
    assert b'"error_type":"host_unknown"' in answer
    assert edge.decision.received == []


@pytest.mark.parametrize("name", [None, "evil.test"])
def test_the_name_in_the_handshake_chooses_nothing(edge: Edge, name: str | None) -> None:
    import ssl

    context = ssl.create_default_context(cafile=str(edge.run / "certs/root.pem"))
    context.check_hostname = False
    import socket

    for host, status in ((HOST, 200), ("evil.test", 421)):
        plain = socket.create_connection(("127.0.0.1", edge.port), timeout=60)
        with context.wrap_socket(plain, server_hostname=name) as secure:
            secure.sendall(_request(b"/m/minilm/a", host.encode()))
            assert _status(secure.recv(4096)) == status


@pytest.mark.parametrize(
    "target",
    [
        b"http://models.test/m/minilm/a",
        b"https://evil.test/m/minilm/a",
        b"http://evil.test/m/minilm/a",
        b"HTTP://models.test/m/minilm/a",
    ],
)
@pytest.mark.parametrize("host", [b"models.test", b"evil.test"])
def test_absolute_form_is_refused(edge: Edge, target: bytes, host: bytes) -> None:
    assert _status(edge.raw(_request(target, host))) in (400, 421)
    assert edge.decision.received == [] and edge.seen() == []


@pytest.mark.parametrize(
    "line",
    [
        b"GET  /m/minilm/a HTTP/1.1",
        b"GET /m/minilm/a  HTTP/1.1",
        b"GET /m/minilm/a HTTP/1.1 ",
        b"GET /m/minilm/a HTTP/1.2",
        b"GET /m/minilm/a HTTP/1.10",
        b"GET /m/minilm/a HTTP/2.0",
        b"GET /m/minilm/a",
        b"GET /m/minilm/a b HTTP/1.1",
        b"GET /m/minilm/a#b HTTP/1.1",
        b"get /m/minilm/a HTTP/1.1",
        b"GET\t/m/minilm/a HTTP/1.1",
        b"\x16\x03\x01",
        b"GET /m/minilm/a?b\xffc HTTP/1.1",
        b"GET /m/minilm/a?b c HTTP/1.1",
    ],
)
def test_request_lines_that_are_not_plain(edge: Edge, line: bytes) -> None:
    answer = edge.raw(
        line + b"\r\nHost: models.test\r\nAuthorization: Bearer ok\r\nConnection: close\r\n\r\n"
    )
    assert answer[:12] not in (b"HTTP/1.1 200", b"HTTP/1.0 200")
    assert b"500" not in answer[:20]
    assert edge.decision.received == [] and edge.seen() == []


@pytest.mark.parametrize("method", ["FOO", "TRACE", "CONNECT", "OPTIONS", "PROPFIND", "MKCOL"])
def test_methods_outside_the_list(edge: Edge, method: str) -> None:
    answer = edge.raw(_request(b"/m/minilm/a", method=method.encode()))
    assert _status(answer) in (400, 405)
    assert edge.decision.received == []


@pytest.mark.parametrize(
    "path",
    [
        "/_decide",
        "/_decide?x=1",
        "/_err/200",
        "/_err/503",
        "/_go",
        "/@go",
        "/decide",
        "/m",
        "/",
        "/x",
        "/_err/",
    ],
)
def test_internal_places_do_not_exist_from_outside(edge: Edge, path: str) -> None:
    answer = edge.request("GET", path)
    assert answer.status in (404, 400)
    assert answer.json()["layer"] == "edge"
    assert edge.decision.received == []


@pytest.mark.parametrize("canary", [b"\xe9", b"\xff", b"\xfe", b"\xef\xbf\xbd", b"\x01", b"\x7f"])
def test_credentials_outside_printable_ascii_are_refused_before_anything_is_keyed(
    edge: Edge, canary: bytes
) -> None:
    head = b"GET /m/minilm/a HTTP/1.1\r\nHost: models.test\r\nAuthorization: Bearer ok" + canary
    answer = edge.raw(head + b"\r\nConnection: close\r\n\r\n")
    assert _status(answer) in (400, 401)
    assert edge.decision.received == []


def test_an_upgrade_is_refused_and_a_models_101_opens_no_tunnel(edge: Edge) -> None:
    from edge_harness import Answer

    edge.guard.answer = lambda _: Answer(
        raw=b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nTUNNEL"
    )
    upgrade = b"Upgrade: x\r\nConnection: upgrade\r\n\r\n"
    answer = edge.raw(
        b"GET /m/minilm/a HTTP/1.1\r\nHost: models.test\r\nAuthorization: Bearer ok\r\n" + upgrade
    )
    assert _status(answer) == 400
    assert edge.seen() == []
    plain = edge.raw(message("GET", "/m/minilm/a") + b"GET /m/minilm/secret HTTP/1.1\r\nHost: x\r\n\r\n")
    assert [r.target for r in edge.seen()] == ["/a"], plain


def test_a_token_in_the_query_is_refused(edge: Edge) -> None:
    answer = edge.request("GET", "/m/minilm/a?x=1&access_token=abc", token=None)
    assert (answer.status, answer.json()["error_type"]) == (401, "token_in_query")
    assert "error=" in (answer.get("WWW-Authenticate") or "")
    assert edge.decision.received == []


def test_nginxs_own_refusals_have_our_shape(edge: Edge) -> None:
    big = b"A: " + b"x" * 9000 + b"\r\n"
    many = b"".join(b"X-%d: a\r\n" % n for n in range(500))
    cases = {
        b"GET /m/minilm/a HTTP/1.1\r\nHost: models.test\r\n" + big + b"\r\n": (431, "headers_too_large"),
        b"GET /m/minilm/" + b"a" * 9000 + b" HTTP/1.1\r\nHost: models.test\r\n\r\n": (414, "target_too_long"),
        b"GET /m/minilm/a HTTP/1.1\r\nHost: models.test\r\n" + many + b"\r\n": (431, "headers_too_large"),
        b"GET /m/minilm/a HTTP/1.1\r\n\r\n": (400, "bad_request"),
        b"GET /m/minilm/a HTTP/1.1\r\nHost: models.test\r\nHost: models.test\r\n\r\n": (400, "bad_request"),
        b"POST /m/minilm/a HTTP/1.1\r\nHost: models.test\r\nTransfer-Encoding: x\r\n\r\n": (
            501,
            "coding_unknown",
        ),
        b"POST /m/minilm/a HTTP/1.1\r\nHost: models.test\r\nContent-Length: 999999\r\n\r\n": (
            413,
            "body_too_large",
        ),
        b"%%% nothing\r\n\r\n": (400, "not_canonical"),
        b"GET /m/minilm/a HTTP/2.0\r\nHost: models.test\r\n\r\n": (400, "not_canonical"),
    }
    for raw, (status, reason) in cases.items():
        answer = edge.raw(raw)
        head, _, body = answer.partition(b"\r\n\r\n")
        assert _status(answer) == status, (raw[:80], answer)
        parsed = json.loads(body)
        assert (parsed["error_type"], parsed["layer"]) == (reason, "edge"), raw[:80]
        assert b"X-Request-Id: " + parsed["request_id"].encode() in head
        assert b"X-Error-Message: " + parsed["error"].encode() in head
    assert edge.decision.received == []


def test_plain_http_on_the_port_is_told_so(edge: Edge) -> None:
    import socket

    with socket.create_connection(("127.0.0.1", edge.port), timeout=60) as plain:
        plain.sendall(b"GET /m/minilm/a HTTP/1.1\r\nHost: models.test\r\nConnection: close\r\n\r\n")
        answer = plain.recv(4096)
    assert _status(answer) == 400 and b"not_https" in answer
