"""Revoking reaches answers that run: they end within seconds, their readers learn why, and nobody else notices."""

from __future__ import annotations

import http.client
import json
import os
import signal
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import huggingface_hub
import openai
import pytest
from huggingface_hub.errors import TextGenerationError

from meshward.callers.revocations import EDGE_FILE, Revoked, edge_text
from meshward.kit.durable import write_atomic
from meshward.kit.errors import MeshwardError
from meshward.kit.exits import Exit
from meshward.runtime.place.instance_file import Guarded
from meshward.testing.recorder import Stream, openai_event, tgi_event
from tests.stack import policies
from tests.stack.asking import ask
from tests.stack.inside import Inside, knock
from tests.stack.live import raise_epoch
from tests.stack.running import Stack, eventually, running

CHAT, COUNT = "/m/chat/v1/chat/completions", 70
LONG = Stream(openai_event, COUNT)  # 7 s
OTHERS = 50


def write(jwks: Path, port: int, directory: Path) -> dict[str, Path]:
    kinds = {"chat": "vllm", "strict": "vllm", "tgi": "tgi"}
    sockets = {f"{name}/v1": directory / f"{name}.sock" for name in kinds}
    models: dict[str, Any] = {
        name: {"versions": {"v1": {"server": kind, "url": f"unix:{sockets[f'{name}/v1']}"}}}
        for name, kind in kinds.items()
    }
    models["strict"]["on_expiry"] = "cut"
    policy = policies.base(jwks, port) | {
        "models": models,
        "roles": {"user": [{"issuer": "test", "group": "users"}]},
        "grants": [{"id": "use", "roles": ["user"], "models": "all", "actions": ["infer"]}],
    }
    policy["edge"]["hostname"] = "localhost"
    policies.write(directory, policy)
    return sockets


@pytest.fixture(scope="module")
def stack(short_dir: Path) -> Iterator[Stack]:
    with running(short_dir, write) as started:
        started.hostname = "localhost"
        for model in started.models.values():
            model.answer = LONG
        yield started


@pytest.fixture(autouse=True)
def nobody_is_revoked(stack: Stack) -> Iterator[None]:
    yield
    listed = revoke(stack)
    for kind, table in (("subject", "subjects"), ("token_id", "tokens"), ("agent", "agents")):
        for name in listed[table]:
            revoke(stack, **{kind: name}, until=1)


def revoke(stack: Stack, **whom: Any) -> dict[str, Any]:
    return ask(stack.state, {"do": "revoke", **whom}, lambda _: None)


@dataclass
class Answer:
    """What a caller of ours has read of one answer so far."""

    request_id: str
    body: bytes = b""
    whole: bool | None = None
    ended: float = 0.0

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line[5:]) for line in self.body.split(b"\n") if line.startswith(b"data:")]


@contextmanager
def streaming(stack: Stack, *asked: tuple[str, str]) -> Iterator[list[Answer]]:
    """One answer for each (token, path), all begun; at the end of the block all are read to their end."""
    with ThreadPoolExecutor(len(asked)) as pool:
        begun = [pool.submit(_begin, stack, *each) for each in asked]
        answers: list[Answer] = []
        reading: list[Future[None]] = []
        for connection, response, answer in (each.result() for each in begun):
            answers.append(answer)
            reading.append(pool.submit(_read, connection, response, answer))
        yield answers
        for each in reading:
            each.result(60)


def _begin(stack: Stack, token: str, path: str) -> tuple[Any, http.client.HTTPResponse, Answer]:
    connection = http.client.HTTPSConnection("localhost", stack.port, context=stack.tls(), timeout=60)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    connection.request("POST", path, b"{}", headers)
    response = connection.getresponse()
    assert response.status == 200, response.read()
    return connection, response, Answer(str(response.getheader("X-Request-Id")))


def _read(connection: Any, response: http.client.HTTPResponse, answer: Answer) -> None:
    try:
        while piece := response.read1():
            answer.body += piece
        answer.whole = response.isclosed() and not response.chunk_left  # type: ignore[attr-defined]
    except (OSError, http.client.HTTPException, ssl.SSLError):
        answer.whole = False
    answer.ended = time.monotonic()
    connection.close()


def trace(stack: Stack, request_id: str) -> dict[str, Any]:
    """The record, once both hops have told."""

    def told() -> dict[str, Any] | None:
        done = stack.command("trace", request_id, "--json")
        found: dict[str, Any] = json.loads(done.stdout)
        return None if found.get("waiting", True) else found

    found: dict[str, Any] = eventually(told, 60, "the record")
    return found


def token(stack: Stack, name: str, **over: Any) -> str:
    return stack.issuer.token(name, ["users"], **over)


def test_only_the_revoked_ones_stream_ends_and_its_record_says_why(stack: Stack) -> None:
    others = [(token(stack, f"user{n}"), CHAT) for n in range(OTHERS)]
    alice = token(stack, "alice")
    with streaming(stack, (alice, CHAT), (alice, "/m/tgi/generate_stream"), *others) as answers:
        stack.models["tgi/v1"].answer = Stream(tgi_event, COUNT)
        eventually(lambda: all(len(answer.body) > 500 for answer in answers), what="every stream")
        assert stack.command("revoke", "--subject", "test:alice").returncode == 0
    for answer in answers[:2]:
        assert answer.whole and len(answer.events) < COUNT
        assert answer.ended < min(other.ended for other in answers[2:]), "it ran to its own end"
        assert answer.events[-1]["request_id"] == answer.request_id
    assert (
        answers[0].events[-1]["error"]["code"] == "revoked"
        and answers[1].events[-1]["error_type"] == "revoked"
    )
    for answer in answers[2:]:
        assert answer.whole and len(answer.events) == COUNT and "error" not in str(answer.events)
    assert stack.call("POST", CHAT, alice, {}).status == 401
    record = trace(stack, answers[0].request_id)
    assert record["edge"]["reason"] == "revoked" and record["edge"]["sub"] == "test:alice"
    assert not record["complete"] and record["agrees"] and not record["disagreements"], record
    assert record["verdict"] == "ended by the edge while it was answered: revoked", record
    assert trace(stack, answers[2].request_id)["complete"]


def test_one_tokens_streams_end_and_not_those_of_another(stack: Stack) -> None:
    mine = [(token(stack, "alice", jti=name), CHAT) for name in ("one", "two")]
    with streaming(stack, *mine) as answers:
        eventually(lambda: all(answer.body for answer in answers))
        revoke(stack, token_id="one")
    assert [len(answer.events) == COUNT for answer in answers] == [False, True]
    assert answers[0].events[-1]["error"]["code"] == "revoked"


def test_an_answer_that_is_no_event_stream_is_broken_off(stack: Stack) -> None:
    stack.models["chat/v1"].answer = Stream(
        lambda n: b"[" if n == 0 else b"1, ", COUNT, 0.1, "application/json"
    )
    try:
        with streaming(stack, (token(stack, "alice"), CHAT)) as (answer,):
            eventually(lambda: answer.body)
            revoke(stack, subject="test:alice")
    finally:
        stack.models["chat/v1"].answer = LONG
    assert answer.whole is False and b"error" not in answer.body
    record = trace(stack, answer.request_id)
    assert record["edge"]["reason"] == "revoked" and not record["complete"] and record["agrees"], record


def _openai(stack: Stack, name: str) -> Iterator[str]:
    client = openai.OpenAI(
        base_url=f"https://localhost:{stack.port}/m/chat/v1", api_key=token(stack, name), max_retries=0,
        http_client=openai.DefaultHttpxClient(verify=stack.tls()),
    )  # fmt: skip
    said = client.chat.completions.create(
        model="chat", messages=[{"role": "user", "content": "x"}], stream=True
    )
    for chunk in said:
        yield str(chunk.choices[0].delta.content)


def _huggingface(stack: Stack, name: str) -> Iterator[str]:
    model = f"https://localhost:{stack.port}/m/tgi"
    client = huggingface_hub.InferenceClient(model=model, token=token(stack, name))
    yield from client.text_generation("x", stream=True)


@pytest.fixture
def hub(stack: Stack) -> Iterator[None]:
    context = stack.tls()
    huggingface_hub.set_client_factory(lambda: httpx2.Client(verify=context, timeout=60))
    yield
    huggingface_hub.close_session()


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize(
    ("ask_as", "failure"), [(_openai, openai.APIError), (_huggingface, TextGenerationError)]
)
def test_real_clients_raise_what_they_raise_for_an_error(
    stack: Stack, ask_as: Callable[[Stack, str], Iterator[str]], failure: type[Exception]
) -> None:
    stack.models["tgi/v1"].answer = Stream(tgi_event, COUNT)
    said = {name: list[str]() for name in ("alice", "bob")}
    raised: dict[str, Exception] = {}

    def listen(name: str) -> None:
        try:
            for word in ask_as(stack, name):
                said[name].append(word)
        except Exception as error:
            raised[name] = error

    threads = [threading.Thread(target=partial(listen, name)) for name in said]
    for thread in threads:
        thread.start()
    eventually(lambda: all(said.values()) or raised)
    revoke(stack, subject="test:alice")
    for thread in threads:
        thread.join(60)
    assert list(raised) == ["alice"] and isinstance(raised["alice"], failure), raised
    assert "revoked" in str(raised["alice"]) and len(said["alice"]) < COUNT
    assert said["bob"] == [f"{n} " for n in range(COUNT)]


@pytest.mark.parametrize(("model", "cut"), [("strict", True), ("chat", False)])
def test_a_stream_ends_with_its_token_where_the_policy_says_so(stack: Stack, model: str, cut: bool) -> None:
    end = int(time.time()) + 4
    with streaming(stack, (token(stack, "alice", exp=end), f"/m/{model}/v1/chat/completions")) as (answer,):
        pass
    assert answer.whole
    if cut:
        assert answer.events[-1]["error"]["code"] == "token_expired" and len(answer.events) < COUNT
        assert trace(stack, answer.request_id)["edge"]["reason"] == "token_expired"
    else:
        assert len(answer.events) == COUNT and time.time() > end


def test_a_list_that_is_damaged_ends_streams_and_the_next_revocation_mends_it(stack: Stack) -> None:
    bob, file = token(stack, "bob"), stack.run / "edge" / EDGE_FILE
    with streaming(stack, (bob, CHAT)) as (answer,):
        eventually(lambda: answer.body)
        file.write_text("garbage")
        raise_epoch(stack)
    assert answer.whole and answer.events[-1]["error"]["code"] == "revocations_unknown"
    revoke(stack, subject="test:mallory")
    with streaming(stack, (bob, CHAT)) as (answer,):
        pass
    assert answer.whole and len(answer.events) == COUNT


def test_a_revoked_agent_is_refused_by_the_guard_until_it_ends_by_itself(stack: Stack) -> None:
    inside, guard, root = Inside(stack), stack.guard("chat"), str(stack.state / "root.pem")
    stack.models["chat/v1"].answer = Stream(openai_event, 1, 0)

    def at_the_guard(*actors: str) -> int:
        txn = inside.txn("chat.infer", actors=actors)
        found = knock(guard, root, "POST", "/v1/chat/completions", svid=inside.svid(), txn=txn, body=b"{}")
        return found.status if found else 0

    try:
        assert at_the_guard("helper") == 200
        done = stack.command("revoke", "--agent", "helper", "--json")
        assert json.loads(done.stdout)["agents"] == {"helper": None}
        chains = (["helper"], ["planner", "helper"], ["helper", "planner"], ["planner"], [])
        assert [at_the_guard(*chain) for chain in chains] == [403, 403, 403, 200, 200]
        listed = stack.command("revoke").stdout
        assert listed == "agent helper: revoked\n"
        until = int(time.time()) + 3
        revoke(stack, agent="helper", until=until)
        assert at_the_guard("helper") == 403
        eventually(lambda: at_the_guard("helper") == 200, 60, "the end of the revocation")
        assert time.time() >= until
        eventually(
            lambda: (stack.run / "edge" / EDGE_FILE).read_text() == "end\n", what="the end at the edge"
        )
        kept = stack.state / "revocations.json"
        eventually(lambda: json.loads(kept.read_text())["agents"] == {}, what="the end in STATE")
    finally:
        stack.models["chat/v1"].answer = LONG


def test_a_long_list_costs_the_edge_nothing(stack: Stack) -> None:
    """Each of 40 answers looks for its ties among 200,000: to read them whole takes 0.1 s each time."""
    file = stack.run / "edge" / EDGE_FILE
    stat, many = file.stat(), {f"test:nobody{number}": None for number in range(200_000)}
    asked = [(token(stack, f"user{number}", jti=f"t{number}"), CHAT) for number in range(40)]
    before = edge_seconds(stack)
    with streaming(stack, *asked) as answers:
        eventually(lambda: all(answer.body for answer in answers))
        revoked = edge_text(Revoked({**many, "test:user7": None}))
        write_atomic(file, revoked, stat.st_mode & 0o777, stat.st_gid)
        raise_epoch(stack)
    assert edge_seconds(stack) - before < 2.0
    ended = [len(answer.events) < COUNT for answer in answers]
    assert ended == [number == 7 for number in range(40)]
    revoke(stack, subject="test:mallory")  # writes the list anew


def edge_seconds(stack: Stack) -> float:
    """Of processor time that nginx's workers have had."""
    master = stack.processes()["edge"]
    workers = Path(f"/proc/{master}/task/{master}/children").read_text().split()
    ticks = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in workers]
    return sum(int(each[11]) + int(each[12]) for each in ticks) / os.sysconf("SC_CLK_TCK")


def test_a_guard_that_hangs_keeps_no_other_hop_from_refusing(stack: Stack) -> None:
    inside, root = Inside(stack), str(stack.state / "root.pem")
    first, last = stack.guard("chat"), stack.guard("tgi")
    pid = next(pid for name, pid in stack.processes().items() if "-chat-" in name)

    def at_the(guard: Guarded, path: str) -> int:
        found = knock(
            guard, root, "POST", path, svid=inside.svid(), txn=inside.txn(f"{guard.model}.infer"), body=b"{}"
        )
        return found.status if found else 0

    stack.models["tgi/v1"].answer = Stream(tgi_event, 1, 0)
    assert at_the(last, "/generate") == 200
    os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(MeshwardError) as told:
            revoke(stack, subject="test:alice")
        assert told.value.exit_code is Exit.HOP_REFUSED and "chat/v1" in told.value.message
        assert at_the(last, "/generate") == 403, "the guard after the one that hangs"
        assert stack.call("POST", CHAT, token(stack, "alice"), {}).status == 401
    finally:
        os.kill(pid, signal.SIGCONT)
    eventually(lambda: at_the(first, "/v1/chat/completions") == 403, what="what it was given while it hung")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--agent", "No Name"],
        ["--agent", "a", "--subject", "test:a"],
        ["--until", "2030-01-01 00:00"],
        ["--subject", "alice"],
    ],
)
def test_what_makes_no_sense_is_refused(stack: Stack, arguments: list[str]) -> None:
    assert stack.command("revoke", *arguments).returncode == 2


def test_the_edge_cannot_write_its_own_list(stack: Stack) -> None:
    stat = (stack.run / "edge" / EDGE_FILE).stat()
    assert stat.st_mode & 0o037 == 0, oct(stat.st_mode)
