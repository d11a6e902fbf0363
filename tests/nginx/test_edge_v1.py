"""`/v1/…`: the body's model is what is decided on, so every reader must find the same one."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from edge_harness import Edge

from meshward.targets import nginx

MOST_STEPS = 5000  # of the script

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
    "longer names": ('{"model":"minilm","models":["a"],"model_":1,"modell":2}', "minilm"),
    "characters beyond ASCII": ('{"input":"日本語é","model":"minilm","x":{"model":"日"}}', "minilm"),
    "large, last": ('{"messages":' + _FILLER + ',\n"model" : "minilm" } ', "minilm"),
    "last, alone in spaces": (' { "model" : "minilm" } \n', "minilm"),
    "large, first": ('{"model":"minilm","messages":' + _FILLER + "}", "minilm"),
    "an escaped value": ('{"model":"mini\\u006cm"}', "minilm"),
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
    "blank": '{"model":" minilm"}',
    "beyond ASCII": '{"model":"minilmé"}',
    "a control character": '{"model":"a\\nb"}',
    "too long": '{"model":"' + "a" * 201 + '"}',
    "only a nested one": '{"a":{"model":"minilm"}}',
    "twice": '{"model":"minilm","model":"other"}',
    "twice, the same": '{"model":"minilm","model":"minilm"}',
    "twice, apart": '{"model":"minilm","input":[{"a":{"b":"c"}}],"model":"other"}',
    "twice, last first": '{"x":1,"model":"other","model":"minilm"}',
    "an escaped twin": '{"model":"minilm","mod\\u0065l":"other"}',
    "an escaped twin before": '{"\\u006dodel":"other","model":"minilm"}',
    "an escaped twin, upper hex": '{"model":"minilm","\\u006D\\u006F\\u0064\\u0065\\u006C":"other"}',
    "only escaped": '{"mod\\u0065l":"minilm"}',
    "another case": '{"model":"minilm","Model":"other"}',
    "another case before": '{"MODEL":"other","model":"minilm"}',
    "another case, escaped": '{"model":"minilm","\\u004dodel":"other"}',
    "only another case": '{"Model":"minilm"}',
    "a byte order mark": '\ufeff{"model":"minilm"}',
    "__proto__": '{"__proto__":{"model":"minilm"}}',
    "single quotes": "{'model':'minilm'}",
    "a comment": '/*{"model":"minilm"}*/{"model":"other"}',
    "large, in the middle": '{"messages":' + _FILLER + ',"model":"minilm","x":1}',
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
    (asked,) = edge.decision.received
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
    assert edge.decision.received == [] and edge.seen() == []


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


CHUNKS = ['["', '"\\"', "[", "[[],", '{"a":', '"a":1,', "\\\\", '"model"', '{"model":1},', '\\"']


def _made_to_be_slow(chunk: str) -> tuple[str, ...]:
    """The buffer, filled with the worst of each kind."""
    whole = chunk * (190_000 // len(chunk))
    twins = '{"model":"minilm","x":"\\u0041"' + chunk * (120_000 // len(chunk))
    escapes = '{"x":"\\u0041' + '\\"' * 30_000 + '","model":"minilm"}'
    lists = '{"x":["\\u0041"' + ",[]" * 20_000 + '],"model":"minilm"}'
    return whole, twins, escapes, lists


@pytest.mark.parametrize("chunk", CHUNKS)
def test_a_body_made_to_be_slow_is_refused(edge: Edge, chunk: str) -> None:
    for body in _made_to_be_slow(chunk):
        assert edge.request("POST", "/v1/a", "no", body=body.encode()).status == 400
    assert edge.seen() == []


_COUNTING = """
let steps = 0;
const exec = RegExp.prototype.exec;
RegExp.prototype.exec = function (text) { steps++; return exec.call(this, text); };
const found = JSON.parse(require('fs').readFileSync(0, 'utf8')).map((text) => {
    steps = 0;
    return [outer(text) || parsed(text), steps];
});
console.log(JSON.stringify(found));
"""


def test_before_anybody_is_known_a_body_takes_so_many_steps_and_no_more() -> None:
    """The script's own functions, their matches counted. njs cannot be asked, so another engine runs them."""
    node = shutil.which("node")
    if node is None:
        assert not os.environ.get("CI"), "node must be there in CI"
        pytest.skip("not run: node is not here")
    script = (Path(str(nginx.__file__)).parent / "meshward.js").read_text()
    functions = re.sub(r"^(?:import|export) .*$", "", script, flags=re.MULTILINE)
    bodies = [body for chunk in CHUNKS for body in _made_to_be_slow(chunk)]
    asked = json.dumps([*bodies, '{"model":"minilm"}'])
    done = subprocess.run(
        [node, "-e", functions + _COUNTING], input=asked, capture_output=True, text=True, check=True
    )
    *slow, (model, _) = json.loads(done.stdout)
    assert model == "minilm"
    assert {name for name, _ in slow} == {""}
    assert max(steps for _, steps in slow) < 2 * MOST_STEPS


def test_without_a_credential_no_body_is_read_into_a_model(edge: Edge) -> None:
    answer = edge.request("POST", "/v1/chat/completions", token=None, body=b'{"model":"minilm"}')
    assert (answer.status, answer.json()["error"]["code"]) == (401, "no_credentials")
    assert edge.decision.received[0].get("X-Mw-Model") is None


def test_two_models_through_one_connection_are_two_questions(edge: Edge) -> None:
    with edge.client() as client:
        for _ in range(2):
            for model in ("a", "b"):
                client.request("POST", "/v1/x", body=json.dumps({"model": model}).encode())
    assert [r.get("X-Mw-Model") for r in edge.decision.received] == ["a", "b"]


def test_the_url_says_the_model_below_m_whatever_the_body_says(edge: Edge) -> None:
    edge.request("POST", "/m/minilm/v1/chat/completions", body=b'{"model":"other","model":"third"}')
    assert edge.decision.received[0].get("X-Mw-Model") == "minilm"
    assert edge.seen()[0].target == "/v1/chat/completions"
