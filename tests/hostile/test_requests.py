"""Every hostile spelling of a request, with a good token, through the whole instance (invariants 1 and 2)."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from meshward.audit.store import Store
from meshward.testing.waiting import DEADLINE
from meshward.trace.story import wait_for
from tests.stack.running import Stack

SPOOFED = (b"root", b"eyJhbGciOiJub25lIn0", b"X-Meshward", b"X_Meshward", b"X^User")


def _status(answer: bytes) -> int:
    """The status of a raw answer; 0 where the edge only closed the connection."""
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.") else 0


def _request(stack: Stack, method: str, target: bytes, token: str) -> bytes:
    host = f"{stack.hostname}:{stack.port}"
    head = f" HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
    return method.encode() + b" " + target + head.encode()


def test_paths(stack: Stack, alice: str, shared_data: Path) -> None:
    rows = json.loads((shared_data / "vectors" / "paths_visible.json").read_text())["paths"]
    assert len(rows) >= 30
    for row in rows:
        target = row["target"].encode("latin-1")
        if target.startswith((b"/", b"*")):
            places = [b"/m/m1" + target]
        else:
            places = [target, target.replace(b"/v1", b"/m/m1/v1")]
        for place in places:
            _judge_path(stack, row["want"], place, alice)


def _judge_path(stack: Stack, want: str, target: bytes, token: str) -> None:
    answer = stack.raw(_request(stack, "GET", target, token))
    status, arrived = _status(answer), stack.taken()
    if want.startswith("policy-decides-on"):
        forwarded = target.removeprefix(b"/m/m1").decode()
        assert status == 200 and [each.target for each in arrived] == [forwarded], (target, answer[:300])
        _same_path_in_both_layers(stack, answer, "/v1/public")
        return
    assert arrived == [], (target, arrived)
    allowed = {"reject": (0, 400, 404, 421), "not-the-same-route": (404,), "policy-decides": (403, 404)}[want]
    assert status in allowed, (target, want, answer[:200])


def _same_path_in_both_layers(stack: Stack, answer: bytes, path: str) -> None:
    lines = answer.split(b"\r\n")
    rid = next(line for line in lines if line.lower().startswith(b"x-request-id:")).split(b": ")[1]
    story = wait_for(Store.read_only(stack.state), rid.decode(), DEADLINE)
    assert story is not None
    record = story.as_json()
    assert record["edge"]["path"] == record["guard"]["path"] == path, record


def test_http1_rows(stack: Stack, alice: str, shared_data: Path) -> None:
    rows = json.loads((shared_data / "vectors" / "http1_visible.json").read_text())["requests"]
    assert len(rows) >= 40
    for row in rows:
        _judge_row(stack, row, _fill(stack, base64.b64decode(row["raw_b64"]), alice))


def _fill(stack: Stack, raw: bytes, token: str) -> bytes:
    host = f"{stack.hostname}:{stack.port}"
    for mark, value in (("{HOSTUPPER}", host.upper()), ("{HOST}", host), ("{TOKEN}", token)):
        raw = raw.replace(mark.encode(), value.encode())
    return raw.replace(b" /v1/", b" /m/m1/v1/").replace(b"evil.test/v1/", b"evil.test/m/m1/v1/")


def _judge_row(stack: Stack, row: dict[str, Any], raw: bytes) -> None:
    want = row["want"]
    # Where a connection may be closed without an answer, the edge may as well wait for more.
    may_wait = not want.startswith("forwarded-without") and 0 in (_expected(want) or ())
    answer = stack.raw(raw, timeout=3 if may_wait else DEADLINE)
    status, arrived = _status(answer), stack.taken()
    where = (row["id"], want, status, answer[:300], arrived)
    if want.startswith("forwarded-without"):
        assert status == 200 or ("or-400" in want and status == 400), where
        sent = [f"{name}: {value}".encode() for each in arrived for name, value in each.headers]
        assert not [line for line in sent for spoof in SPOOFED if spoof in line], where
    elif want == "one upstream request only":
        assert [each.target for each in arrived] in ([], ["/v1/public"]), where
    else:
        assert arrived == [], where
        assert status != 200 and (status < 500 or status == 501), where
        assert status in (_expected(want) or {status}), where


def _expected(want: str) -> set[int]:
    """The statuses that a row names; 0 stands for a closed connection, which refuses as well."""
    words = want.replace("/", " ").replace(",", " ").split()
    named = {int(word) for word in words if word.isdigit() and len(word) == 3}
    by_words = {"decision uses the real path": {403}, "same decision as lower case": {403}}
    return by_words.get(want) or (named and named | {0})


def test_a_decision_is_only_for_what_it_was_made_for(stack: Stack, alice: str) -> None:
    """Cache: a permit for one route, method, model or person is never another's (threats D01)."""
    boss, stranger = stack.issuer.token("boss", ["bosses"]), stack.issuer.token("eve", ["others"])
    assert stack.call("GET", "/m/m1/v1/secret", boss).status == 200
    assert stack.call("GET", "/m/m1/v1/secret", alice).status == 403
    assert stack.call("GET", "/m/m1/v1/public", alice).status == 200
    assert stack.call("GET", "/m/m1/v1/public", stranger).status == 403
    assert stack.call("GET", "/m/m1/v1/secret", alice).status == 403
    assert stack.call("DELETE", "/m/m1/v1/public", alice).status == 404
    assert stack.call("GET", "/m/m3/v1/public", alice).status == 404
    assert [each.target for each in stack.taken()] == ["/v1/secret", "/v1/public"]


def test_tokens_of_broken_bytes_share_nothing(stack: Stack, alice: str) -> None:
    """A token is printable ASCII: what is not is refused before anybody is asked."""
    host = f"{stack.hostname}:{stack.port}".encode()
    for number in (0xE9, 0xFF, 0xFE, 0x01, 0x7F):
        tail = bytes([number])
        raw = (
            b"GET /m/m1/v1/public HTTP/1.1\r\nHost: "
            + host
            + b"\r\nAuthorization: Bearer "
            + alice.encode()
            + tail
        )
        answer = stack.raw(raw + b"\r\nConnection: close\r\n\r\n")
        assert _status(answer) in (400, 401), (tail, answer[:200])
    assert stack.taken() == []


def test_a_body_can_name_one_model_only(stack: Stack, alice: str) -> None:
    """/v1 routes by the body's model; a second spelling of the key could make the server run another one."""
    escaped = b"mod" + b"\\" + b"u0065l"
    hostile = [
        b'{"model":"m1","model":"m2"}',
        b'{"model":"m1","' + escaped + b'":"m2"}',
        b'{"model":["m1"]}',
        b'{"model":null}',
        b"{}",
        b"[]",
        b'"m1"',
        b'{"model":"m1"',
        b"",
        b'{"model":"m1"}{"model":"m2"}',
    ]
    for body in hostile:
        reply = stack.call("POST", "/v1/public", alice, body)
        assert reply.status == 400, (body, reply)
    assert stack.taken() == []
    reply = stack.call("POST", "/v1/public", alice, b'{"model":"m1","tools":[{"model":"m2"}]}')
    assert reply.status == 200 and len(stack.models["m1/v1"].taken()) == 1, reply
    reply = stack.call("POST", "/v1/public", alice, b'{"' + escaped + b'":"m1"}')
    assert reply.status == 200, "every reader takes it for the model, so do we"


def test_internal_places_are_not_there_from_outside(stack: Stack, alice: str) -> None:
    for path in (
        "/_decide",
        "/_err/403",
        "/_meshward/decide",
        "/@go",
        "/healthz",
        "/decide",
        "/metrics",
        "/admin",
    ):
        reply = stack.call("GET", path, alice)
        assert reply.status in (400, 404), (path, reply)
    assert stack.taken() == []
