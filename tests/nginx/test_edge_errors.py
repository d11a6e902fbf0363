"""What a refused client reads: the shape its library prints, a line in a header, a challenge."""

from __future__ import annotations

import json

import pytest
from edge_harness import Edge, refusal


def _refuse(edge: Edge, status: int, message: str) -> None:
    edge.decision.answer = lambda _: refusal(status, "some_reason", message)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429])
@pytest.mark.parametrize("path", ["/m/minilm/embed", "/m/minilm", "/m/minilm/v1x", "/m/minilm/info"])
def test_native_routes_get_a_string(edge: Edge, status: int, path: str) -> None:
    _refuse(edge, status, "You may not, and why.")
    answer = edge.request("POST", path, body=b"{}")
    assert answer.status == status
    assert answer.json() == {
        "error": "You may not, and why.",
        "error_type": "some_reason",
        "request_id": answer.get("X-Request-Id"),
        "layer": "edge",
    }
    assert answer.get("X-Error-Message") == "You may not, and why."
    assert answer.get("Content-Type") == "application/json"


_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "invalid_request_error",
    429: "rate_limit_error",
}


@pytest.mark.parametrize("status", _TYPES)
@pytest.mark.parametrize(
    "path", ["/m/minilm/v1/chat/completions", "/m/minilm/v1", "/m/minilm/v1/", "/v1/embeddings"]
)
def test_openai_routes_get_an_object(edge: Edge, status: int, path: str) -> None:
    _refuse(edge, status, "You may not.")
    answer = edge.request("POST", path, body=b'{"model":"minilm"}')
    assert answer.status == status
    assert answer.json() == {
        "error": {"message": "You may not.", "type": _TYPES[status], "code": "some_reason", "param": None},
        "request_id": answer.get("X-Request-Id"),
        "layer": "edge",
    }


def test_challenges_and_when_to_come_back(edge: Edge) -> None:
    for status, challenged, later in (
        (401, True, False),
        (403, True, False),
        (404, False, False),
        (429, False, True),
    ):
        edge.bump()
        _refuse(edge, status, "No.")
        answer = edge.request("GET", "/m/minilm/a")
        assert (answer.get("WWW-Authenticate") is not None) == challenged
        assert (answer.get("Retry-After") is not None) == later
        if challenged:
            assert (
                answer.get("WWW-Authenticate")
                == 'Bearer resource_metadata="https://models.test/x", scope="minilm.infer"'
            )


@pytest.mark.parametrize(
    "message", ['quote " and \\ backslash', "{}[]<>'&;$host${x}%", "x" * 200, "a" + "}" * 20]
)
def test_a_message_of_printable_ascii_arrives_as_it_is(edge: Edge, message: str) -> None:
    _refuse(edge, 403, message)
    answer = edge.request("GET", "/m/minilm/a")
    assert answer.json()["error"] == message
    assert answer.get("X-Error-Message") == message


@pytest.mark.parametrize("message", ["caf\xe9", "x" * 201, "", "tab\there", "\x7f"])
def test_any_other_message_is_replaced(edge: Edge, message: str) -> None:
    _refuse(edge, 403, message)
    answer = edge.request("GET", "/m/minilm/a")
    assert (answer.status, answer.json()["error"]) == (403, "The request was refused.")
    assert answer.body.isascii()


@pytest.mark.parametrize("status", ["200", "302", "500", "999", "x", "40", "4030"])
def test_a_status_that_is_no_refusal_is_not_believed(edge: Edge, status: str) -> None:
    edge.decision.answer = lambda _: refusal(status, "r", seen=403)  # type: ignore[arg-type]
    assert edge.request("GET", "/m/minilm/a").status == 403


def test_hostile_reasons_and_challenges_do_not_reach_the_client(edge: Edge) -> None:
    for reason in ("No Such", "a-b", "", "x" * 65, 'a"b'):
        edge.bump()
        edge.decision.answer = lambda _, r=reason: refusal(403, r)  # type: ignore[misc]
        assert edge.request("GET", "/m/minilm/a").json()["error_type"] == "refused"


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE"])
def test_every_method_is_refused_alike(edge: Edge, method: str) -> None:
    answer = edge.request(method, "/m/minilm/a", token=None)
    assert answer.status == 401
    assert answer.get("X-Error-Message") == "Send a token."
    if method != "HEAD":
        assert json.loads(answer.body)["error_type"] == "no_credentials"
