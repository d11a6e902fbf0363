"""`/v1/…`: the body's model is what is decided on, so every reader must find the same one."""

from __future__ import annotations

import base64
import hashlib
import json

import pytest
from edge_harness import GUARDS, Edge, message, permit, refusal, who

_FILLER = json.dumps([{"role": "user", "content": "x" * 20}] * 3000)  # over 128 KiB

_FINE = {
    "first": ('{"model":"minilm","input":"x"}', "minilm"),
    "spaces": (' \n\t{ "model" : "minilm" , "input":[1]}', "minilm"),
    "alone": ('{"model":"minilm"}', "minilm"),
    "last": ('{"input":"x","model":"minilm"}', "minilm"),
    "with a slash": ('{"model":"some-org/all-MiniLM-L6-v2"}', "some-org%2Fall-MiniLM-L6-v2"),
    "a nested one too": ('{"model":"minilm","tools":[{"model":"other"}]}', "minilm"),
    "a nested one before": ('{"tools":{"a":{"model":"other"}},"model":"minilm"}', "minilm"),
    "a value of that name": ('{"kind":"model","model":"minilm"}', "minilm"),
    "the word in a text": ('{"model":"minilm","input":"say \\"model\\": \\"other\\""}', "minilm"),
    "a text that ends in it": ('{"input":"\\"model","model":"minilm"}', "minilm"),
    "a key that ends in it": ('{"\\"model":1,"model":"minilm"}', "minilm"),
    "escapes beyond ASCII": ('{"model":"minilm","input":"\\u4e2d\\u00e9"}', "minilm"),
    "escaped letters in a text": ('{"model":"minilm","input":"\\u006dodel \\u0041"}', "minilm"),
    "backslashes": ('{"input":"\\\\","b":"\\\\\\"","model":"minilm","x":{"model":1}}', "minilm"),
    "longer names": ('{"model":"minilm","models":["a"],"model_name":1,"modell":2}', "minilm"),
    "characters beyond ASCII": ('{"input":"日本語é","model":"minilm","x":{"model":"日"}}', "minilm"),
    "large, last": ('{"messages":' + _FILLER + ',\n"model" : "minilm" } ', "minilm"),
    "last, alone in spaces": (' { "model" : "minilm" } \n', "minilm"),
    "large, first": ('{"model":"minilm","messages":' + _FILLER + "}", "minilm"),
    "an escaped value": ('{"model":"mini\\u006cm"}', "minilm"),
    "an escaped slash, as PHP writes it": ('{"model":"some-org\\/m"}', "some-org%2Fm"),
    "an escaped key": ('{"mod\\u0065l":"minilm"}', "minilm"),
    "beyond ASCII": ('{"model":"minilmé"}', "minilm%C3%A9"),
    "large, in the middle": ('{"messages":' + _FILLER + ',"model":"minilm","x":1}', "minilm"),
    "large, with a tool's own model": (
        '{"messages":'
        + _FILLER
        + ',"model":"minilm","tools":[{"properties":{"model":{"type":"string"}}}],"x":1}',
        "minilm",
    ),
}

_REFUSED = {
    "no body": "",
    "not JSON": "model=minilm",
    "cut": '{"x":1,"model":"minilm"',
    "a list": '["model"]',
    "a list of one": '[{"model":"minilm"}]',
    "a string": '"model"',
    "null": "null",
    "a number": "1",
    "no model": '{"input":"x"}',
    "a number as model": '{"model":1}',
    "null as model": '{"model":null}',
    "a list as model": '{"model":["minilm"]}',
    "an object as model": '{"model":{"model":"minilm"}}',
    "empty": '{"model":""}',
    "a control character": '{"model":"a\\nb"}',
    "too long": '{"model":"' + "a" * 257 + '"}',
    "only a nested one": '{"a":{"model":"minilm"}}',
    "twice": '{"model":"minilm","model":"other"}',
    "twice, the same": '{"model":"minilm","model":"minilm"}',
    "twice, apart": '{"model":"minilm","input":[{"a":{"b":"c"}}],"model":"other"}',
    "twice, last first": '{"x":1,"model":"other","model":"minilm"}',
    "an escaped twin": '{"model":"minilm","mod\\u0065l":"other"}',
    "an escaped twin before": '{"\\u006dodel":"other","model":"minilm"}',
    "an escaped twin, upper hex": '{"model":"minilm","\\u006D\\u006F\\u0064\\u0065\\u006C":"other"}',
    "another case": '{"model":"minilm","Model":"other"}',
    "another case before": '{"MODEL":"other","model":"minilm"}',
    "another case, escaped": '{"model":"minilm","\\u004dodel":"other"}',
    "only another case": '{"Model":"minilm"}',
    "a byte order mark": '\ufeff{"model":"minilm"}',
    "__proto__": '{"__proto__":{"model":"minilm"}}',
    "single quotes": "{'model':'minilm'}",
    "a comment": '/*{"model":"minilm"}*/{"model":"other"}',
    "large, last of a nested one": '{"messages":' + _FILLER + ',"x":{"model":"minilm"}}',
    "large, last of a list": "[" + _FILLER + ',{"model":"minilm"}]',
    "large, last in a text": '{"messages":' + _FILLER + ',"x":"\\"model\\":\\"minilm\\"}"}',
    "large, twice": '{"model":"minilm","messages":' + _FILLER + ',"model":"other"}',
    "large, escaped twin": '{"model":"minilm","messages":' + _FILLER + ',"m\\u006fdel":"other"}',
    "large, another case": '{"model":"minilm","messages":' + _FILLER + ',"mOdel":"other"}',
}


@pytest.mark.parametrize("case", _FINE)
def test_one_model(edge: Edge, case: str) -> None:
    body, model = _FINE[case]
    answer = edge.request("POST", "/v1/chat/completions?a=%2F", body=body.encode())
    assert answer.status == 200, answer
    who, asked = edge.decision.received
    assert (who.get("X-Mw-Model"), who.get("X-Mw-Front")) == (None, "v1")
    assert (asked.get("X-Mw-Model"), asked.get("X-Mw-Front")) == (model, "v1")
    assert asked.get("X-Mw-Path") == "/v1/chat/completions"
    (request,) = edge.seen()
    assert (request.target, request.body) == ("/v1/chat/completions?a=%2F", body.encode())
    line = edge.line(answer.get("X-Request-Id"))
    assert (line["front"], line["model"], line["path"]) == ("v1", model, "/v1/chat/completions")


@pytest.mark.parametrize("case", _REFUSED)
def test_no_model_or_more_than_one_is_refused(edge: Edge, case: str) -> None:
    answer = edge.request("POST", "/v1/chat/completions", body=_REFUSED[case].encode())
    assert answer.status == 400
    error = answer.json()["error"]
    assert (error["code"], error["type"], error["param"]) == (
        "body_model_missing",
        "invalid_request_error",
        None,
    )
    assert [asked.get("X-Mw-Model") for asked in edge.decision.received] == [None], "only who it is"
    assert edge.seen() == []


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"mini\xfflm"}',
        b'{"model":"\xed\xa0\x80"}',
        b"\xff\xfe{\x00",
        b'{"model":"minilm\x00"}',
        b"\x00",
    ],
)
def test_bytes_that_are_no_text(edge: Edge, body: bytes) -> None:
    assert edge.request("POST", "/v1/chat/completions", body=body).status == 400
    assert edge.seen() == []


@pytest.mark.parametrize("token", [None, "no", "x" * 500])
def test_of_a_stranger_no_body_is_read(edge: Edge, token: str | None) -> None:
    """He is refused before the body has come: it never does."""
    edge.decision.answer = lambda _: refusal(401, "token_malformed")
    with edge.client() as client:
        client.send(message("POST", "/v1/chat/completions", token, Content_Length="100000"))
        assert client.head().status == 401


def test_who_somebody_is_was_asked_once(edge: Edge) -> None:
    with edge.client() as client:
        for model in ("a", "b", "c"):
            client.request("POST", "/v1/x", body=json.dumps({"model": model}).encode())
    assert [r.get("X-Mw-Model") for r in edge.decision.received] == [None, "a", "b", "c"]


def test_a_form_is_told_where_it_belongs(edge: Edge) -> None:
    body = b'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\nminilm\r\n--x--\r\n'
    answer = edge.request(
        "POST", "/v1/audio/transcriptions", body=body, Content_Type="multipart/form-data; boundary=x"
    )
    assert answer.status == 400 and "/m/NAME/v1" in answer.json()["error"]["message"]
    assert edge.seen() == []


def test_of_a_coded_body_the_coding_is_refused_and_not_what_it_seems_to_say(edge: Edge) -> None:
    """A stranger is told that he is one."""
    for body in (b"\x1f\x8b\x08\x00", b'{"model":"minilm"}'):
        answer = edge.request("POST", "/v1/responses", body=body, Content_Encoding="gzip")
        assert (answer.status, answer.json()["error"]["code"]) == (415, "coding_unsupported")
        assert answer.get("Accept-Encoding") == "identity"
    assert [asked.get("X-Mw-Model") for asked in edge.decision.received] == [None]
    assert edge.request("POST", "/v1/responses", token=None, body=b"x", Content_Encoding="gzip").status == 401
    assert edge.seen() == []


def test_without_a_credential_no_body_is_read_into_a_model(edge: Edge) -> None:
    answer = edge.request("POST", "/v1/chat/completions", token=None, body=b'{"model":"minilm"}')
    assert (answer.status, answer.json()["error"]["code"]) == (401, "no_credentials")
    assert edge.decision.received[0].get("X-Mw-Model") is None


def test_two_models_through_one_connection_are_two_questions(edge: Edge) -> None:
    with edge.client() as client:
        for _ in range(2):
            for model in ("a", "b"):
                client.request("POST", "/v1/x", body=json.dumps({"model": model}).encode())
    assert [r.get("X-Mw-Model") for r in edge.decision.received] == [None, "a", "b"]


# --- below /m/ the URL says the model, and a body may not say another ---------------------------------------------

NAMES = "minilm org%2Fminilm tgi"


@pytest.mark.parametrize("name", ["minilm", "org/minilm", "tgi"])
def test_a_body_may_name_the_model_of_its_url(edge: Edge, name: str) -> None:
    edge.decision.answer = lambda _: permit(mw_names=NAMES)
    body = json.dumps({"messages": [], "model": name}).encode()
    assert edge.request("POST", "/m/minilm/v1/chat/completions", body=body).status == 200
    assert edge.seen()[0].body == body


@pytest.mark.parametrize(
    "body",
    [
        '{"model":"other"}',
        '{"model":"minilm","model":"other"}',
        '{"model":"other","model":"minilm"}',
        '{"model":"minilm","Model":"other"}',
        '{"model":"minilm","mod\\u0065l":"other"}',
        '{"model":"Minilm"}',
        '{"model":["minilm"]}',
        '{"model":null}',
        "\ufeff" + '{"model":"other"}',
        '{"model":"minilm"}{"model":"other"}',
    ],
)
def test_a_body_that_names_another_model_goes_nowhere(edge: Edge, body: str) -> None:
    edge.decision.answer = lambda _: permit(mw_names=NAMES)
    for data in (body.encode(), body.encode("utf-16"), body.encode("utf-16-le"), body.encode("utf-32-be")):
        answer = edge.request("POST", "/m/minilm/v1/chat/completions", body=data)
        assert answer.status == 400, data
        assert answer.json()["error"]["code"] in ("body_model_other", "body_model_missing")
    assert edge.seen() == []


def test_a_form_that_names_another_model_goes_nowhere(edge: Edge) -> None:
    edge.decision.answer = lambda _: permit(mw_names=NAMES)
    for name, status in (("other", 400), ("minilm", 200)):
        part = f'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\n{name}\r\n--x--\r\n'
        kind = "multipart/form-data; boundary=x"
        answer = edge.request("POST", "/m/minilm/v1/audio/x", body=part.encode(), Content_Type=kind)
        assert answer.status == status
    assert len(edge.seen()) == 1


def test_without_names_the_body_is_not_looked_at(edge: Edge) -> None:
    body = b'{"model":"other","model":"third"}'
    assert edge.request("POST", "/m/minilm/embed", body=body).status == 200
    assert edge.seen()[0].body == body


# --- the server's own name ----------------------------------------------------------------------------------------

CALLED = f"1000000|1 00 {GUARDS[0]} Qwen%2FQwen3"


@pytest.mark.parametrize("target", ["/v1/chat/completions", "/m/minilm/v1/chat/completions"])
@pytest.mark.parametrize("chunked", [False, True])
def test_the_server_gets_the_name_that_it_knows(edge: Edge, target: str, chunked: bool) -> None:
    """Length, digest and record are of what went on."""
    edge.decision.answer = lambda r: (
        permit(mw_route=CALLED, mw_names="minilm") if r.get("X-Mw-Model") else who()
    )
    body = b'{"messages":[{"content":"x"}], "model" : "minilm" ,"tools":[{"model":1}]}'
    sent = b'{"messages":[{"content":"x"}], "model" : "Qwen/Qwen3" ,"tools":[{"model":1}]}'
    with edge.client() as client:
        if chunked:
            pieces = b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"
            client.send(message("POST", target, Transfer_Encoding="chunked") + pieces)
            answer = client.response()
        else:
            answer = client.request("POST", target, body=body)
    assert answer.status == 200
    (request,) = edge.seen()
    assert request.body == sent and request.get("Content-Length") == str(len(sent))
    digest = base64.b64encode(hashlib.sha256(sent).digest()).decode()
    assert request.get("Content-Digest") == f"sha-256=:{digest}:"
    line = edge.line(answer.get("X-Request-Id"))
    assert (line["reqd"], line["bytes_in"]) == (digest, str(len(sent)))


def test_a_server_of_several_models_gets_no_body_that_names_none(edge: Edge) -> None:
    edge.decision.answer = lambda _: permit(mw_route=CALLED, mw_names="minilm")
    for body in (b'{"messages":[]}', b"[]", b"audio"):
        answer = edge.request("POST", "/m/minilm/v1/chat/completions", body=body)
        assert (answer.status, answer.json()["error"]["code"]) == (400, "body_model_missing")
    assert edge.request("GET", "/m/minilm/v1/models").status == 200
    assert len(edge.seen()) == 1


def test_two_versions_each_get_their_own_name(edge: Edge) -> None:
    route = f"1000|1 00 {GUARDS[0]} one|1 01 {GUARDS[1]}"
    edge.decision.answer = lambda _: permit(mw_route=route, mw_names="minilm")
    with edge.client() as client:
        for _ in range(40):
            assert client.request("POST", "/m/minilm/v1/x", body=b'{"model":"minilm"}').status == 200
    assert {request.body for request in edge.guards[0].received} == {b'{"model":"one"}'}
    assert {request.body for request in edge.guards[1].received} == {b'{"model":"minilm"}'}


# --- codings ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("coding", ["gzip", "zstd", "br", "GZIP", "identity, gzip", "x", "identity", ""])
@pytest.mark.parametrize("target", ["/v1/x", "/m/minilm/v1/x"])
def test_a_coded_body_is_refused_with_what_is_taken(edge: Edge, coding: str, target: str) -> None:
    answer = edge.request("POST", target, body=b'{"model":"minilm"}', Content_Encoding=coding)
    assert (answer.status, answer.get("Accept-Encoding")) == (415, "identity")
    assert answer.json()["error"]["code"] == "coding_unsupported"
    assert edge.seen() == []
    assert edge.request("POST", target, body=b'{"model":"minilm"}').status == 200
