"""One vLLM with a base model and an adapter: a grant for one of its names opens that one alone, whoever asks how."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.clients.model_servers import SAID, Knowing, named
from tests.stack import policies
from tests.stack.command import meshward
from tests.stack.live import change_rules
from tests.stack.running import Reply, Stack, running

BASE, ADAPTER, NEXT = "Qwen/Qwen3-8B", "sql-lora", "sql-lora-2"
CHAT = "/v1/chat/completions"
SPEECH = "/v1/audio/transcriptions"
OWN = {"alice": ("chat", BASE), "ann": ("sql", ADAPTER)}
"""Who may use which model, and what the server calls it."""
OTHER = {"alice": "sql", "ann": "chat"}
NAMES = {"chat": ("chat", "qwen"), "sql": ("sql", "sql-lora", "text-to-sql")}
"""Of each model: its own and its aliases. One alias is what the server calls it."""


def policy(jwks: Path, port: int, socket: Path) -> dict[str, Any]:
    server = {"server": "vllm", "url": f"unix:{socket}"}
    grants = [
        {"id": role, "roles": [role], "models": [model], "actions": ["infer"]}
        for role, model in (("staff", "chat"), ("analyst", "sql"))
    ]
    models = {
        "chat": {"aliases": ["qwen"], "versions": {"v1": {**server, "model": BASE}}},
        "sql": {"aliases": ["sql-lora", "text-to-sql"], "versions": {"v1": {**server, "model": ADAPTER}}},
    }
    roles = {role: [{"issuer": "test", "group": role}] for role in ("staff", "analyst")}
    return policies.base(jwks, port) | {"roles": roles, "models": models, "grants": grants}


@pytest.fixture(scope="module")
def stack(short_dir: Path) -> Iterator[Stack]:
    def write(jwks: Path, port: int, directory: Path) -> dict[str, Path]:
        socket = directory / "vllm.sock"
        policies.write(directory, policy(jwks, port, socket))
        return {"chat/v1": socket}

    with running(short_dir, write) as started:
        started.models["chat/v1"].answer = Knowing({BASE, ADAPTER, NEXT})
        yield started


@pytest.fixture(params=OWN)
def person(stack: Stack, request: pytest.FixtureRequest) -> str:
    stack.taken()
    return str(request.param)


def token(stack: Stack, person: str) -> str:
    return stack.issuer.token(person, ["staff" if person == "alice" else "analyst"])


def ask(stack: Stack, person: str, path: str, body: Any) -> Reply:
    return stack.call("POST", path, token(stack, person), body)


def upload(stack: Stack, person: str, path: str, *names: str) -> Reply:
    """Audio in a form, which has a field `model` for each of `names`."""
    fields = "".join(
        f'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\n{name}\r\n' for name in names
    )
    file = '--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\nRIFF\r\n--b--\r\n'
    kind = {"Content-Type": "multipart/form-data; boundary=b"}
    return stack.call("POST", path, token(stack, person), (fields + file).encode(), kind)


def heard(stack: Stack) -> list[str | None]:
    """The names that the server was asked for, but for its health."""
    return [named(request) for request in stack.taken() if request.method == "POST"]


def test_by_either_way_and_every_name_of_its_own_a_model_answers(stack: Stack, person: str) -> None:
    model, called = OWN[person]
    for name in NAMES[model]:
        for path in (CHAT, f"/m/{model}{CHAT}"):
            reply = ask(stack, person, path, {"messages": [], "model": name})
            assert reply.status == 200 and SAID in str(reply.json), (path, name, reply)
            assert heard(stack) == [called]
        assert upload(stack, person, f"/m/{model}{SPEECH}", name).status == 200
        assert heard(stack) == [called]


def test_what_clients_write_for_no_name_means_this_one(stack: Stack, person: str) -> None:
    model, called = OWN[person]
    for word in ("tgi", "dummy"):
        assert ask(stack, person, f"/m/{model}{CHAT}", {"model": word}).status == 200
    assert heard(stack) == [called, called]


def test_no_name_of_the_other_opens_it(stack: Stack, person: str) -> None:
    """Nor does what the server calls it, or its own model."""
    model, _ = OWN[person]
    for name in {*NAMES[OTHER[person]], BASE, ADAPTER, NEXT} - set(NAMES[model]):
        by_v1 = ask(stack, person, CHAT, {"model": name})
        assert by_v1.status in (403, 404), (name, by_v1)
        inside = ask(stack, person, f"/m/{model}{CHAT}", {"model": name})
        assert (inside.status, inside.json["error"]["code"]) == (400, "body_model_other"), (name, inside)
        assert upload(stack, person, f"/m/{model}{SPEECH}", name).status == 400
    for name in NAMES[OTHER[person]]:  # a URL knows no aliases
        status = 403 if name == OTHER[person] else 404
        assert ask(stack, person, f"/m/{name}{CHAT}", {"model": model}).status == status
        assert upload(stack, person, f"/m/{name}{SPEECH}", model).status == status
    assert heard(stack) == []


def test_no_body_of_two_names_opens_the_other(stack: Stack, person: str) -> None:
    """Whichever of them a server's reader would take."""
    own, other = OWN[person][0], NAMES[OTHER[person]][-1]
    for first, second in ((own, other), (other, own)):
        for key in ("model", "Model", "mod\\u0065l", "MODEL", "mode\\u006C"):
            body = f'{{"model":"{first}","{key}":"{second}","messages":[]}}'.encode()
            for path in (CHAT, f"/m/{own}{CHAT}"):
                assert ask(stack, person, path, body).status in (400, 403), body
        assert upload(stack, person, f"/m/{own}{SPEECH}", first, second).status == 400
    assert heard(stack) == []


def test_a_body_without_a_name_goes_nowhere(stack: Stack, person: str) -> None:
    """The server would answer as the one that it was started with."""
    model, _ = OWN[person]
    for body in ({"messages": []}, {"model": None}, {"model": ""}, {"model": [model]}, b"RIFF", b"[]"):
        reply = ask(stack, person, f"/m/{model}{CHAT}", body)
        assert (reply.status, reply.json["error"]["code"]) == (400, "body_model_missing"), (body, reply)
    assert upload(stack, person, f"/m/{model}{SPEECH}").status == 400
    assert heard(stack) == []


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "x"]
)
def test_no_content_type_hides_a_name(stack: Stack, person: str, kind: str) -> None:
    """A reader may well ignore it."""
    model = OWN[person][0]
    for name in NAMES[OTHER[person]]:
        body = json.dumps({"messages": [], "model": name}).encode()
        reply = stack.call("POST", f"/m/{model}{CHAT}", token(stack, person), body, {"Content-Type": kind})
        assert reply.status == 400, reply
    assert heard(stack) == []


def test_a_canary_goes_between_two_names(stack: Stack) -> None:
    """Of one model, on one server; who calls says one name all the time."""
    text = json.loads(stack.policy.read_text())
    versions = text["models"]["sql"]["versions"]
    versions["v2"] = {**versions["v1"], "model": NEXT}
    text["models"]["sql"]["traffic"] = {"v1": 50, "v2": 50}
    before = stack.policy.read_text()
    change_rules(stack, text)
    try:
        stack.taken()
        for path in (CHAT, f"/m/sql{CHAT}"):
            assert {ask(stack, "ann", path, {"model": "sql"}).status for _ in range(40)} == {200}
            assert Counter(heard(stack)).keys() == {ADAPTER, NEXT}
        assert ask(stack, "ann", f"/m/sql{CHAT}", {"model": NEXT}).status == 400
        assert ask(stack, "alice", CHAT, {"model": NEXT}).status == 404
        assert stack.command("traffic", "sql", "v1=0", "v2=100").returncode == 0
        assert {ask(stack, "ann", CHAT, {"model": "sql"}).status for _ in range(20)} == {200}
        assert set(heard(stack)) == {NEXT}
    finally:
        change_rules(stack, json.loads(before))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model": None}, "no `model` says what it is called there"),
        ({"model": BASE}, "is what the server of both calls"),
        ({"server": "tei"}, "does not tell them apart"),
        ({"server": "tgi"}, "does not tell them apart"),
    ],
)
def test_check_refuses_what_the_server_could_not_tell_apart(
    tmp_path: Path, change: dict[str, str | None], said: str
) -> None:
    text = policy(tmp_path / "jwks.json", 8443, tmp_path / "vllm.sock")
    assert _checked(tmp_path, text) == (0, "")
    version = text["models"]["sql"]["versions"]["v1"] | change
    text["models"]["sql"]["versions"]["v1"] = {
        key: value for key, value in version.items() if value is not None
    }
    code, told = _checked(tmp_path, text)
    assert code != 0 and "MW0032" in told and said in told


def _checked(directory: Path, text: dict[str, Any]) -> tuple[int, str]:
    policies.write(directory, text)
    done = meshward("check", str(directory / "policy.yaml"))
    return done.returncode, "" if done.returncode == 0 else done.stdout + done.stderr
