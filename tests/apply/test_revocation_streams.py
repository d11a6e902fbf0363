"""Revoking reaches answers that run: they end within seconds, their readers learn why, and nobody else notices."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
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
from meshward.testing.recorder import Received, Stream, openai_event, tgi_event
from tests.stack import policies
from tests.stack.asking import ask
from tests.stack.impostor import liar
from tests.stack.inside import Inside, knock
from tests.stack.live import raise_epoch
from tests.stack.running import Stack, eventually, running

CHAT, COUNT = "/m/chat/v1/chat/completions", 20
OTHERS = 50
CALM = 0.2  # seconds


@dataclass(frozen=True)
class Held:
    """Answers `COUNT` pieces, and holds in their middle until `go`: it sends `nothing` meanwhile, now and then.

    For the edge looks who is revoked when something of an answer comes.
    """

    piece: Callable[[int], bytes] = openai_event
    content_type: str = "text/event-stream"
    nothing: bytes = b": \n\n"
    go: threading.Event = field(default_factory=threading.Event)

    def __call__(self, _: Received, connection: socket.socket) -> None:
        head = f"HTTP/1.1 200 OK\r\nContent-Type: {self.content_type}\r\nTransfer-Encoding: chunked\r\n\r\n"
        connection.sendall(head.encode())
        for number in range(COUNT):
            while number == COUNT // 2 and not self.go.wait(CALM):
                self._send(connection, self.nothing)
            self._send(connection, self.piece(number))
        connection.sendall(b"0\r\n\r\n")

    def _send(self, connection: socket.socket, piece: bytes) -> None:
        connection.sendall(b"%x\r\n%b\r\n" % (len(piece), piece))


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
        yield started


@pytest.fixture(autouse=True)
def go(stack: Stack) -> Iterator[threading.Event]:
    """Answers are held until this is set. Nobody is revoked any more after a test."""
    chat = Held()
    for name in ("chat", "strict"):
        stack.models[f"{name}/v1"].answer = chat
    stack.models["tgi/v1"].answer = Held(tgi_event, go=chat.go)
    yield chat.go
    chat.go.set()
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
    whole: bool | None = None  # None: it has not ended

    @property
    def events(self) -> list[dict[str, Any]]:
        """Those that are whole."""
        lines = self.body.split(b"\n")[:-1]
        return [json.loads(line[5:]) for line in lines if line.startswith(b"data:")]


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
    connection.close()


def begun(*answers: Answer) -> None:
    """Wait until each of them has come as far as it comes before `go`."""
    eventually(lambda: all(len(answer.events) == COUNT // 2 for answer in answers), what="every stream")


def ended(*answers: Answer) -> None:
    eventually(lambda: all(answer.whole is not None for answer in answers), what="their end")


def trace(stack: Stack, request_id: str) -> dict[str, Any]:
    """The record, once both hops have told."""

    def told() -> dict[str, Any] | None:
        done = stack.command("trace", request_id, "--json")
        found: dict[str, Any] = json.loads(done.stdout)
        return None if found.get("waiting", True) else found

    found: dict[str, Any] = eventually(told, what="the record")
    return found


def token(stack: Stack, name: str, **over: Any) -> str:
    return stack.issuer.token(name, ["users"], **over)


def test_only_the_revoked_ones_stream_ends_and_its_record_says_why(stack: Stack, go: threading.Event) -> None:
    others = [(token(stack, f"user{n}"), CHAT) for n in range(OTHERS)]
    alice = token(stack, "alice")
    with streaming(stack, (alice, CHAT), (alice, "/m/tgi/generate_stream"), *others) as answers:
        begun(*answers)
        assert stack.command("revoke", "--subject", "test:alice").returncode == 0
        ended(*answers[:2])
        assert [other.whole for other in answers[2:]] == [None] * OTHERS, "they go on"
        go.set()
    for answer in answers[:2]:
        assert answer.whole and len(answer.events) == COUNT // 2 + 1
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


def test_one_tokens_streams_end_and_not_those_of_another(stack: Stack, go: threading.Event) -> None:
    mine = [(token(stack, "alice", jti=name), CHAT) for name in ("one", "two")]
    with streaming(stack, *mine) as answers:
        begun(*answers)
        revoke(stack, token_id="one")
        ended(answers[0])
        go.set()
    assert [len(answer.events) == COUNT for answer in answers] == [False, True]
    assert answers[0].events[-1]["error"]["code"] == "revoked"


def test_an_answer_that_is_no_event_stream_is_broken_off(stack: Stack) -> None:
    stack.models["chat/v1"].answer = Held(lambda n: b"[" if n == 0 else b"1, ", "application/json", b" ")
    with streaming(stack, (token(stack, "alice"), CHAT)) as (answer,):
        eventually(lambda: answer.body)
        revoke(stack, subject="test:alice")
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
    stack: Stack,
    go: threading.Event,
    ask_as: Callable[[Stack, str], Iterator[str]],
    failure: type[Exception],
) -> None:
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
    eventually(lambda: raised, what="an error for alice")
    go.set()
    for thread in threads:
        thread.join(60)
    assert list(raised) == ["alice"] and isinstance(raised["alice"], failure), raised
    assert "revoked" in str(raised["alice"]) and len(said["alice"]) < COUNT
    assert said["bob"] == [f"{n} " for n in range(COUNT)]


@pytest.mark.parametrize(("model", "cut"), [("strict", True), ("chat", False)])
def test_a_stream_ends_with_its_token_where_the_policy_says_so(
    stack: Stack, go: threading.Event, model: str, cut: bool
) -> None:
    end = int(time.time()) + 5  # and as many seconds of skew, in which it may begin
    with streaming(stack, (token(stack, "alice", exp=end), f"/m/{model}/v1/chat/completions")) as (answer,):
        if cut:
            ended(answer)
        eventually(lambda: time.time() > end + 1)
        go.set()
    assert answer.whole
    if cut:
        assert answer.events[-1]["error"]["code"] == "token_expired" and len(answer.events) < COUNT
        assert trace(stack, answer.request_id)["edge"]["reason"] == "token_expired"
    else:
        assert len(answer.events) == COUNT


def test_a_list_that_is_damaged_ends_streams_and_the_next_revocation_mends_it(
    stack: Stack, go: threading.Event
) -> None:
    bob, file = token(stack, "bob"), stack.run / "given" / "edge" / EDGE_FILE
    with streaming(stack, (bob, CHAT)) as (answer,):
        eventually(lambda: answer.body)
        file.write_text("garbage")
        raise_epoch(stack)
    assert answer.whole and answer.events[-1]["error"]["code"] == "revocations_unknown"
    revoke(stack, subject="test:mallory", unknown=True)
    with streaming(stack, (bob, CHAT)) as (answer,):
        go.set()
    assert answer.whole and len(answer.events) == COUNT


def test_a_revoked_agent_is_refused_by_the_guard_until_it_ends_by_itself(stack: Stack) -> None:
    inside, guard, root = Inside(stack), stack.guard("chat"), str(stack.state / "root.pem")
    stack.models["chat/v1"].answer = Stream(openai_event, 1, 0)

    def at_the_guard(*actors: str) -> int:
        txn = inside.txn("chat.infer", actors=actors)
        found = knock(guard, root, "POST", "/v1/chat/completions", svid=inside.svid(), txn=txn, body=b"{}")
        return found.status if found else 0

    assert at_the_guard("helper") == 200
    assert stack.command("revoke", "--agent", "helper").returncode == Exit.USAGE, "the policy has none"
    done = stack.command("revoke", "--agent", "helper", "--unknown", "--json")
    assert json.loads(done.stdout)["agents"] == {"helper": None}
    chains = (["helper"], ["planner", "helper"], ["helper", "planner"], ["planner"], [])
    assert [at_the_guard(*chain) for chain in chains] == [403, 403, 403, 200, 200]
    listed = stack.command("revoke").stdout
    assert listed.startswith("agent helper: revoked, since ") and listed.count("\n") == 1
    for seconds in (3, 12, 48):  # a busy machine may need longer to tell the guard, and to ask it
        until = int(time.time()) + seconds
        revoke(stack, agent="helper", until=until)
        status = at_the_guard("helper")
        if time.time() < until:
            break
    assert status == 403
    eventually(lambda: at_the_guard("helper") == 200, what="the end of the revocation")
    assert time.time() >= until
    eventually(
        lambda: (stack.run / "given" / "edge" / EDGE_FILE).read_text() == "end\n", what="the end at the edge"
    )
    kept = stack.state / "revocations.json"
    eventually(lambda: json.loads(kept.read_text())["agents"] == {}, what="the end in STATE")


def test_a_long_list_costs_the_edge_nothing(stack: Stack, go: threading.Event) -> None:
    """Each of 40 answers looks for its ties among 200,000, and none reads them whole."""
    file = stack.run / "given" / "edge" / EDGE_FILE
    stat, many = file.stat(), {f"test:nobody{number}": None for number in range(200_000)}
    asked = [(token(stack, f"user{number}", jti=f"t{number}"), CHAT) for number in range(40)]
    revoked = edge_text(Revoked({**many, "test:user7": None}))
    with streaming(stack, *asked) as answers:
        begun(*answers)
        before = edge_has_read(stack)
        write_atomic(file, revoked, stat.st_mode & 0o777, stat.st_gid)
        raise_epoch(stack)
        ended(answers[7])
        go.set()
    assert edge_has_read(stack) - before < 4 * len(revoked), "40 times would be all of them"
    assert [len(answer.events) < COUNT for answer in answers] == [number == 7 for number in range(40)]
    revoke(stack, subject="test:mallory", unknown=True)  # writes the list anew


def edge_has_read(stack: Stack) -> int:
    """The bytes that nginx's workers have read so far, from files and connections."""
    master = stack.processes()["edge"]
    workers = Path(f"/proc/{master}/task/{master}/children").read_text().split()
    return sum(int(Path(f"/proc/{pid}/io").read_text().split()[1]) for pid in workers)


def test_a_guard_that_says_it_does_not_keeps_no_other_hop_from_refusing(stack: Stack) -> None:
    inside, root = Inside(stack), str(stack.state / "root.pem")
    first, last = stack.guard("chat"), stack.guard("tgi")

    def at_the(guard: Guarded, path: str) -> int:
        found = knock(
            guard, root, "POST", path, svid=inside.svid(), txn=inside.txn(f"{guard.model}.infer"), body=b"{}"
        )
        return found.status if found else 0

    stack.models["tgi/v1"].answer = Stream(tgi_event, 1, 0)
    assert at_the(last, "/generate") == 200
    with liar(stack.run / "guards" / first.slot / "admin.sock"):
        with pytest.raises(MeshwardError) as told:
            revoke(stack, subject="test:alice")
        assert told.value.exit_code is Exit.HOP_REFUSED and "chat/v1" in told.value.message
        assert at_the(last, "/generate") == 403, "the guard after the one that does not"
        assert stack.call("POST", CHAT, token(stack, "alice"), {}).status == 401
    eventually(lambda: at_the(first, "/v1/chat/completions") == 403, what="what it was given meanwhile")


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
    stat = (stack.run / "given" / "edge" / EDGE_FILE).stat()
    assert stat.st_mode & 0o037 == 0, oct(stat.st_mode)
