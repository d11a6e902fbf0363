"""The access log is JSON whatever comes, and no file ever holds a token, a query or a prompt."""

from __future__ import annotations

import socket
from pathlib import Path

from edge_harness import Answer, Edge, message, permit, running

from meshward.targets.nginx.log import FIELDS

_TOKEN, _QUERY, _PROMPT, _HEADER = "CANARYTOKEN", "CANARYQUERY", "CANARYPROMPT", "CANARYHEADER"
_CANARIES = (_TOKEN, _QUERY, _PROMPT, _HEADER, "CANARYTXN")
_TARGET = f"/m/minilm/x?access={_QUERY}"


def _send(edge: Edge, target: str = _TARGET, body: bytes = _PROMPT.encode(), **headers: str) -> None:
    edge.raw(message("POST", target, "ok" + _TOKEN, body, X_Custom=_HEADER, Cookie=_HEADER, **headers))


def _provoke(edge: Edge) -> None:
    """Every way in which nginx, Lua, the decision or a guard has something to complain about."""
    edge.decision.answer = lambda _: permit(mw_txn_token="CANARYTXN")
    _send(edge)
    _send(edge, target=f"/m/minilm/x?access_token={_QUERY}")
    _send(edge, target=f"/m/minilm//{_QUERY}?{_QUERY}")
    _send(edge, body=b"a" * 200_001 + _PROMPT.encode())
    _send(edge, target=f"/v1/x?{_QUERY}", body=b"{" + _PROMPT.encode())
    _send(edge, Host=_HEADER)
    edge.raw(f"GET {_TARGET} HTTP/1.1\r\nHost: models.test\r\nBad Header: {_HEADER}\r\n\r\n".encode())
    edge.raw(f"GET {_TARGET} HTTP/1.1\r\nHost: {_HEADER}/?\r\nX: {'a' * 9000}\r\n\r\n".encode())
    edge.raw(f"GET {_TARGET} b HTTP/1.1\r\nHost: {_HEADER}\r\n\r\n".encode())
    edge.raw(f"GET /{_QUERY}?{_QUERY}{'a' * 9000} HTTP/1.1\r\n\r\n".encode())
    with edge.client() as client:  # leaves in the middle of its body
        client.send(message("POST", _TARGET, _TOKEN, Content_Length="100") + _PROMPT.encode())
    with socket.create_connection(("127.0.0.1", edge.port)) as plain:
        plain.sendall(f"GET {_TARGET} HTTP/1.1\r\nHost: models.test\r\n\r\n".encode())
        plain.recv(4096)


def _trouble(edge: Edge) -> None:
    edge.bump()
    edge.decision.answer = lambda _: permit(mw_limit="3r/m", mw_bucket="e" * 32)
    for _ in range(5):
        _send(edge)
    edge.page.close()
    _send(edge)
    edge.replace_page()
    edge.decision.answer = lambda _: permit(mw_route="broken")
    _send(edge)
    for route in ("1000|1 07 v1.other.td.test", "1000|1 01 wrong.name.td.test"):
        edge.bump()
        edge.decision.answer = lambda _, r=route: permit(mw_route=r)  # type: ignore[misc]
        _send(edge)
    edge.bump()
    edge.decision.answer = lambda _: permit()
    edge.guard.answer = lambda _: Answer(raw=b"NOT HTTP " + _PROMPT.encode() + b"\r\n\r\n")
    _send(edge)
    edge.guard.answer = lambda _: Answer(200, {"X-Big": "a" * 30_000})
    _send(edge)
    edge.bump()
    edge.decision.stop()
    _send(edge)
    edge.decision.start()


def test_no_file_holds_what_a_client_sent() -> None:
    with running() as edge:
        _provoke(edge)
        _trouble(edge)
        files = [p for p in edge.run.rglob("*") if p.is_file()]
        assert len(edge.lines()) >= 20
        for path in (*files, edge.said):
            _holds_none(path)
        assert [p.name for p in files if p.name.endswith(".log")] == ["access.log"], "no other log is bounded"
        assert "connect() to unix:" in edge.errors(), "what ails the decision service is still told"


def _holds_none(path: Path) -> None:
    data = path.read_bytes()
    for canary in _CANARIES:
        assert canary.encode() not in data, f"{canary} in {path}"


def test_every_line_is_an_object_of_strings_with_the_contracts_keys(edge: Edge) -> None:
    edge.decision.answer = lambda _: permit(mw_facts='"\\\x7f{}')
    for raw in (
        message("GET", "/m/minilm/x"),
        message("GET", "/m/%22/x"),
        b'GET /m/"x HTTP/1.1\r\nHost: "\\\r\n\r\n',
        b"GET /\xff\xfe HTTP/1.1\r\nHost: \xff\r\n\r\n",
        b'"\\"\r\n\r\n',
        message("POST", "/v1/x", body=b'{"model":"a\\"b\\\\c"}'),
        message("GET", "/m/@:~/x"),
    ):
        edge.raw(raw)
    for line in edge.lines():
        assert list(line) == ["v", "hop", *FIELDS]
        assert all(isinstance(value, str) for value in line.values()), line
        assert (line["v"], line["hop"]) == ("1", "edge")


def test_a_path_that_is_not_canonical_is_not_logged(edge: Edge) -> None:
    for target in ("/m/minilm/../x", "/m/minilm/%61", "/m//x"):
        answer = edge.request("GET", target)
        line = edge.line(answer.get("X-Request-Id"))
        assert (line["path"], line["status"], line["reason"]) == ("", "400", "not_canonical")


def test_a_refusal_is_logged_with_its_method_layer_and_reason(edge: Edge) -> None:
    answer = edge.request("POST", "/m/minilm/embed?x=1", "no", body=b"x")
    line = edge.line(answer.get("X-Request-Id"))
    assert (line["method"], line["path"], line["model"], line["front"]) == ("POST", "/embed", "minilm", "m")
    assert (line["status"], line["reason"], line["layer"]) == ("403", "no_grant", "edge")
    assert (line["guard"], line["reqd"], line["last"]) == ("", "", "")
    missing = edge.line(edge.request("GET", "/nothing/here?x=1").get("X-Request-Id"))
    assert (missing["path"], missing["status"], missing["reason"]) == (
        "/nothing/here",
        "404",
        "route_unknown",
    )
