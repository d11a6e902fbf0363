"""Bodies of the clients that docs/clients.md names, with tools, small and large: each arrives as it was sent."""

from __future__ import annotations

import gzip
import json
import ssl
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
from huggingface_hub import InferenceClient, set_client_factory
from huggingface_hub.errors import HfHubHTTPError
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from openai import APIStatusError, OpenAI
from smolagents import ChatMessage, InferenceClientModel, OpenAIModel

from meshward.testing.recorder import Received
from tests.clients import captured
from tests.clients.model_servers import SAID, Knowing, answer
from tests.stack import policies
from tests.stack.running import Stack, running

QWEN = "Qwen/Qwen3-0.6B"
KINDS: dict[str, dict[str, str]] = {
    "assistant": {"server": "vllm", "model": QWEN},
    "plain": {"server": "vllm"},
    "minilm": {"server": "tei"},
    "writer": {"server": "tgi"},
    "own": {"server": "own"},
}
CALLED = {name: kind.get("model", name) for name, kind in KINDS.items()}
SIZES = {"10 KB": 10_000, "100 KB": 100_000, "1 MB": 1_000_000}
_PIECE = 'He wrote {"model": "other", "a": [1]} \\ and "model":"x"; café, 日本語, 🚗.\n'
TOOLS = [
    {
        "type": "function",
        "function": {"name": "order", "description": "Orders.", "parameters": captured.SCHEMA},
    }
]


def prose(size: int) -> str:
    """A text that takes about `size` bytes in a body, and speaks of models."""
    return ("word " * 16 + _PIECE) * (size // 180)


@dataclass
class Caller:
    """Alice, and what her programs sent."""

    stack: Stack
    token: str
    sent: list[httpx2.Request] = field(default_factory=list)

    @property
    def root(self) -> str:
        return str(self.stack.instance.root_certificate)

    def base(self, way: str, model: str) -> str:
        """What comes before /v1 there."""
        return self.stack.instance.edge_url + (f"/m/{model}" if way == "m" else "")

    def http(self) -> httpx2.Client:
        """Trusts the edge, as what `meshward.clients` makes does."""
        return httpx2.Client(
            verify=ssl.create_default_context(cafile=self.root),
            event_hooks={"request": [self._keep]},
            timeout=60,
        )

    def openai(self, base: str) -> dict[str, Any]:
        """How any OpenAI-like client is told where the model is."""
        return {"base_url": f"{base}/v1", "api_key": self.token, "http_client": self.http(), "max_retries": 0}

    def _keep(self, request: httpx2.Request) -> None:
        """huggingface_hub asks the Hub things besides."""
        if str(request.url).startswith(self.stack.instance.edge_url):
            request.read()
            self.sent.append(request)

    def met(self) -> tuple[bytes, Received]:
        """The one body that was sent, and what the server got."""
        (request,), (received,) = self.sent, self.stack.taken()
        return request.content, received


def write(jwks: Path, port: int, directory: Path) -> dict[str, Path]:
    sockets = {f"{name}/v1": directory / f"{name}.sock" for name in KINDS}
    policy = policies.base(jwks, port)
    policy["edge"]["hostname"] = "localhost"
    models = {
        name: {"versions": {"v1": {**kind, "url": f"unix:{sockets[f'{name}/v1']}"}}}
        for name, kind in KINDS.items()
    }
    policy |= {
        "servers": {"own": {"infer": ["POST /v1/chat/completions"]}},
        "roles": {"user": [{"issuer": "test", "group": "users"}]},
        "models": models,
        "grants": [{"id": "g", "roles": ["user"], "models": "all", "actions": ["infer", "describe"]}],
    }
    policies.write(directory, policy)
    return sockets


@pytest.fixture(scope="module")
def stack(short_dir: Path) -> Iterator[Stack]:
    with running(short_dir, write) as started:
        started.hostname = "localhost"
        for key, model in started.models.items():
            name = key.split("/")[0]
            model.answer = Knowing({CALLED[name]}) if KINDS[name]["server"] == "vllm" else answer
        yield started


@pytest.fixture
def caller(stack: Stack) -> Iterator[Caller]:
    stack.taken()
    found = Caller(stack, stack.issuer.token("alice", ["users"]))
    set_client_factory(found.http)
    yield found
    set_client_factory(httpx2.Client)


def assert_only_the_name_changed(sent: bytes, got: bytes, name: str, called: str) -> None:
    """Byte for byte the same, but that the top level's `model` is the server's name."""
    assert json.loads(got) == {**json.loads(sent), "model": called}
    pieces = sent.split(json.dumps(name).encode())
    assert len(pieces) > 1
    changed = (
        json.dumps(name).encode().join(pieces[:i])
        + json.dumps(called).encode()
        + json.dumps(name).encode().join(pieces[i:])
        for i in range(1, len(pieces))
    )
    assert got in changed, "nothing else may change"


# --- the clients --------------------------------------------------------------------------------------------------

Client = Callable[[Caller, str, str, str], Any]
"""Calls the model of that name below a base URL with a text."""


def openai_chat(caller: Caller, base: str, name: str, text: str) -> Any:
    turn: Any = [{"role": "user", "content": text}]
    tools: Any = TOOLS
    found = OpenAI(**caller.openai(base)).chat.completions.create(model=name, messages=turn, tools=tools)
    return found.choices[0].message.content


def openai_stream(caller: Caller, base: str, name: str, text: str) -> Any:
    turn: Any = [{"role": "user", "content": text}]
    tools: Any = TOOLS
    client = OpenAI(**caller.openai(base))
    pieces = client.chat.completions.create(model=name, messages=turn, tools=tools, stream=True)
    return SAID if [piece.choices[0].delta.content for piece in pieces] == ["0 "] else None


def openai_responses(caller: Caller, base: str, name: str, text: str) -> Any:
    tool: Any = {"type": "function", "name": "order", "strict": False, "parameters": captured.SCHEMA}
    found = OpenAI(**caller.openai(base)).responses.create(model=name, input=text, tools=[tool])
    return found.output_text


def openai_embeddings(caller: Caller, base: str, name: str, text: str) -> Any:
    found = OpenAI(**caller.openai(base)).embeddings.create(model=name, input=[text])
    return SAID if found.data[0].embedding == [0.1, 0.2, 0.3] else None


def huggingface_chat(caller: Caller, base: str, name: str, text: str) -> Any:
    client = InferenceClient(model=f"{base}/v1", token=caller.token)
    turn: Any = [{"role": "user", "content": text}]
    tools: Any = TOOLS
    return client.chat_completion(turn, model=name, tools=tools).choices[0].message.content


def smolagents_openai(caller: Caller, base: str, name: str, text: str) -> Any:
    options = {"http_client": caller.http(), "max_retries": 0}
    model = OpenAIModel(name, api_base=f"{base}/v1", api_key=caller.token, client_kwargs=options)
    return model.generate([ChatMessage(role="user", content=text)], tools=TOOLS).content  # type: ignore[arg-type]


def smolagents_inference(caller: Caller, base: str, name: str, text: str) -> Any:
    model = InferenceClientModel(model_id=f"{base}/v1", token=caller.token, model=name)
    return model.generate([ChatMessage(role="user", content=text)], tools=TOOLS).content  # type: ignore[arg-type]


def langchain_chat(caller: Caller, base: str, name: str, text: str) -> Any:
    chat = ChatOpenAI(model=name, **caller.openai(base))
    return chat.bind_tools(TOOLS).invoke(text).content


def langchain_embeddings(caller: Caller, base: str, name: str, text: str) -> Any:
    client = OpenAIEmbeddings(model=name, check_embedding_ctx_length=False, **caller.openai(base))
    return SAID if client.embed_query(text) == [0.1, 0.2, 0.3] else None


def httpx2_chat(caller: Caller, base: str, name: str, text: str) -> Any:
    body = {"tools": TOOLS, "messages": [{"role": "user", "content": text}], "model": name}
    with caller.http() as http:
        http.headers["Authorization"] = f"Bearer {caller.token}"
        found = http.post(f"{base}/v1/chat/completions", json=body).raise_for_status().json()
    return found["choices"][0]["message"]["content"]


CLIENTS: dict[str, Client] = {
    each.__name__: each
    for each in (openai_chat, openai_stream, openai_responses, openai_embeddings, huggingface_chat,
                 smolagents_openai, smolagents_inference, langchain_chat, langchain_embeddings, httpx2_chat)
}  # fmt: skip


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("model", ["assistant", "plain"])
@pytest.mark.parametrize("way", ["m", "v1"])
@pytest.mark.parametrize("client", CLIENTS)
def test_a_client_reaches_a_vllm(caller: Caller, client: str, way: str, model: str, size: str) -> None:
    """By /v1 and by /m/NAME/v1. The server knows its own name alone."""
    said = CLIENTS[client](caller, caller.base(way, model), model, prose(SIZES[size]))
    assert said == SAID
    sent, received = caller.met()
    assert len(sent) > 0.7 * SIZES[size]
    assert_only_the_name_changed(sent, received.body, model, CALLED[model])


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("model", ["assistant", "plain"])
@pytest.mark.parametrize("way", ["m", "v1"])
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_curl(caller: Caller, tmp_path: Path, framing: str, way: str, model: str, size: str) -> None:
    tools = {"tools": TOOLS, "model": model, "stream": False}
    sent = json.dumps(
        {"messages": [{"role": "user", "content": prose(SIZES[size])}], **tools}, indent=1
    ).encode()
    file = tmp_path / "body.json"
    file.write_bytes(sent)
    more = ["-H", "Transfer-Encoding: chunked"] if framing == "chunked" else []
    done = subprocess.run(
        ["curl", "-sS", "--fail", "--cacert", caller.root, f"{caller.base(way, model)}/v1/chat/completions", "-H",
         "@-", "-H", "Content-Type: application/json", "--data-binary", f"@{file}", *more],
        input=f"Authorization: Bearer {caller.token}", text=True, capture_output=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0 and SAID in done.stdout, done.stderr
    (received,) = caller.stack.taken()
    assert_only_the_name_changed(sent, received.body, model, CALLED[model])


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("model", ["assistant", "plain"])
@pytest.mark.parametrize("way", ["m", "v1"])
@pytest.mark.parametrize("client", captured.BODIES)
def test_what_other_clients_write(caller: Caller, client: str, way: str, model: str, size: str) -> None:
    path, body = captured.BODIES[client]
    sent = captured.written(body, model, prose(SIZES[size] // body.count("@text")))
    target = f"/m/{model}{path}" if way == "m" else path
    assert caller.stack.call("POST", target, caller.token, sent).status == 200
    (received,) = caller.stack.taken()
    assert received.target == path
    assert_only_the_name_changed(sent, received.body, model, CALLED[model])


@pytest.mark.parametrize("size", SIZES)
def test_features_at_a_tei(caller: Caller, size: str) -> None:
    """Its own routes know no names: what was sent arrives."""
    client = InferenceClient(model=caller.base("m", "minilm"), token=caller.token)
    assert client.feature_extraction(prose(SIZES[size])).shape == (1, 3)
    sent, received = caller.met()
    assert received.body == sent and "model" not in json.loads(sent)


# --- names that clients write where they know none ----------------------------------------------------------------


def chat_without_a_name(caller: Caller, model: str) -> Any:
    client = InferenceClient(model=caller.base("m", model), token=caller.token)
    return client.chat_completion([{"role": "user", "content": "hello"}]).choices[0].message.content


@pytest.mark.parametrize("model", ["writer", "assistant"])
def test_a_url_is_enough_where_the_server_reads_its_own_name_or_none(caller: Caller, model: str) -> None:
    assert chat_without_a_name(caller, model) == SAID
    sent, received = caller.met()
    assert json.loads(sent)["model"] == "dummy"
    assert json.loads(received.body)["model"] == KINDS[model].get("model", "dummy")


@pytest.mark.parametrize("model", ["plain", "own"])
def test_where_a_server_may_look_at_names_ours_must_be_said(caller: Caller, model: str) -> None:
    with pytest.raises(HfHubHTTPError, match=r"The body's model is not the one in the URL\. Name that one"):
        chat_without_a_name(caller, model)
    assert caller.stack.taken() == []


@pytest.mark.parametrize("word", ["tgi", "dummy"])
@pytest.mark.parametrize("model", KINDS)
def test_placeholders(caller: Caller, model: str, word: str) -> None:
    path = "/v1/embeddings" if model == "minilm" else "/v1/chat/completions"
    status = 400 if model in ("plain", "own") else 200
    reply = caller.stack.call("POST", f"/m/{model}{path}", caller.token, {"model": word})
    assert reply.status == status, reply
    assert status == 200 or "Name that one" in reply.json["error"]["message"]
    assert [json.loads(r.body)["model"] for r in caller.stack.taken()] == (
        [KINDS[model].get("model", word)] if status == 200 else []
    )


@pytest.mark.parametrize("word", ["tgi", "dummy"])
def test_at_v1_a_placeholder_is_no_model(caller: Caller, word: str) -> None:
    reply = caller.stack.call("POST", "/v1/chat/completions", caller.token, {"model": word})
    assert reply.status == 404 and caller.stack.taken() == []


# --- bodies that are coded, and forms -----------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["m", "v1"])
@pytest.mark.parametrize(
    "coding", ["gzip", "zstd", "deflate", "br", "GZIP", "identity, gzip", "", "x", "identity"]
)
def test_a_coded_body_is_refused_with_what_to_do(caller: Caller, way: str, coding: str) -> None:
    body = gzip.compress(json.dumps({"model": "assistant", "messages": []}).encode())
    target = "/v1/responses" if way == "v1" else "/m/assistant/v1/responses"
    reply = caller.stack.call("POST", target, caller.token, body, {"Content-Encoding": coding})
    assert (reply.status, reply.headers["accept-encoding"]) == (415, "identity"), reply
    assert reply.json["error"]["code"] == "coding_unsupported"
    assert "Switch request compression off" in reply.json["error"]["message"]
    assert caller.stack.taken() == []


@pytest.mark.parametrize("way", ["m", "v1"])
def test_two_codings_in_two_headers(caller: Caller, way: str) -> None:
    """The first says `identity`, and a server may read the last."""
    body = b'{"model":"assistant"}'
    target = "/v1/responses" if way == "v1" else "/m/assistant/v1/responses"
    head = (
        f"POST {target} HTTP/1.1\r\nHost: localhost:{caller.stack.port}\r\nAuthorization: Bearer {caller.token}\r\n"
        f"Content-Length: {len(body)}\r\nContent-Encoding: identity\r\nContent-Encoding: gzip\r\n\r\n"
    )
    assert caller.stack.raw(head.encode() + body).split(b" ")[1] == b"415"
    assert caller.stack.taken() == []


@pytest.mark.parametrize("way", ["m", "v1"])
def test_openai_says_why(caller: Caller, way: str) -> None:
    client = OpenAI(**caller.openai(caller.base(way, "assistant")))
    turn: Any = [{"role": "user", "content": "hello"}]
    with pytest.raises(APIStatusError, match="Switch request compression off") as caught:
        client.chat.completions.create(
            model="assistant", messages=turn, extra_headers={"Content-Encoding": "zstd"}
        )
    assert caught.value.status_code == 415


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("model", ["assistant", "plain"])
def test_an_upload_goes_below_m(caller: Caller, model: str, size: str) -> None:
    file = ("a.wav", b"RIFF\r\n--" * (SIZES[size] // 8))
    client = OpenAI(**caller.openai(caller.base("m", model)))
    assert client.audio.transcriptions.create(model=model, file=file).text == SAID
    sent, received = caller.met()
    before, after = b'name="model"\r\n\r\n%b\r\n' % model.encode(), b'name="model"\r\n\r\n%b\r\n'
    assert received.body == sent.replace(before, after % CALLED[model].encode(), 1)


def test_an_upload_at_v1_is_told_of_m(caller: Caller) -> None:
    client = OpenAI(**caller.openai(caller.base("v1", "assistant")))
    with pytest.raises(APIStatusError, match="send it to /m/NAME/v1/") as caught:
        client.audio.transcriptions.create(model="assistant", file=("a.wav", b"RIFF"))
    assert caught.value.status_code == 400 and caller.stack.taken() == []
