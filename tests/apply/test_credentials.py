"""A whole instance whose guards send keys: they arrive, change under load, and are nowhere else."""

from __future__ import annotations

import copy
import json
import os
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import socket
from typing import Any

import pytest

from meshward.kit.durable import write_atomic
from meshward.kit.errors import MeshwardError
from meshward.kit.exits import Exit
from meshward.testing.instance import START
from meshward.testing.recorder import Received, plain_answer
from tests.stack import policies
from tests.stack.asking import ask
from tests.stack.command import meshward
from tests.stack.impostor import liar
from tests.stack.inside import Inside, knock
from tests.stack.live import apply, policy_of
from tests.stack.load import at_work
from tests.stack.running import Stack, eventually, free_port, running

ENVIRONMENT = "MESHWARD_TEST_SERVER_KEY"
FIRST = {"file": "key-of-the-file-1", "env": "key-of-the-environment-1", "command": "key-of-the-command-1"}
ASK = "/m/{}/ask"


class Keyed(ThreadingHTTPServer):
    """A server on a port that may demand a key, as one does that an operator started with `--api-key`."""

    key: str | None = None
    request_queue_size = 128  # who connects while we stand still must not find it full

    def __init__(self) -> None:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("content-length", "0")))
                good = outer.key is None or self.headers.get_all("authorization") == [f"Bearer {outer.key}"]
                self.send_response(200 if good else 401)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *args: object) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


@pytest.fixture(scope="module")
def keyed() -> Iterator[Keyed]:
    server = Keyed()
    yield server
    server.shutdown()
    server.server_close()


def write_keyed(keyed: Keyed, jwks: Path, port: int, directory: Path) -> dict[str, Path]:
    """One model for each place where a key may be kept; `plain` has none, and server `spare` waits to be a replica."""
    sockets = {
        f"{name}/v1": directory / f"{name}.sock" for name in ("file", "env", "command", "plain", "spare")
    }
    for name in ("file", "command"):
        write_atomic(directory / f"{name}.key", f"{FIRST[name]}\n")
    models: dict[str, Any] = {
        key.split("/")[0]: {"versions": {"v1": {"server": "own", "url": f"unix:{path}"}}}
        for key, path in sockets.items()
        if key != "spare/v1"
    }
    for name in ("file", "env", "command"):
        models[name]["versions"]["v1"]["credential"] = f"from-{name}"
    models["ours"] = {"versions": {"v1": {"server": "own", "url": keyed.url, "credential": "generated"}}}
    policy = policies.base(jwks, port) | {
        "servers": {"own": {"infer": ["POST /ask"], "health": "GET /health"}},
        "models": models,
        "credentials": {
            "from-file": {"from": "file", "path": str(directory / "file.key")},
            "from-env": {"from": "env", "name": ENVIRONMENT},
            "from-command": {"from": "command", "command": ["/bin/cat", str(directory / "command.key")]},
        },
        "roles": {"user": [{"issuer": "test", "group": "users"}]},
        "grants": [{"id": "use", "roles": ["user"], "models": "all", "actions": ["infer"]}],
    }
    policies.write(directory, policy)
    return sockets


@pytest.fixture(scope="module")
def stack(short_dir: Path, keyed: Keyed) -> Iterator[Stack]:
    os.environ[ENVIRONMENT] = FIRST["env"]
    try:
        with running(short_dir, partial(write_keyed, keyed)) as started:
            yield started
    finally:
        del os.environ[ENVIRONMENT]


@pytest.fixture
def alice(stack: Stack) -> str:
    stack.taken()
    return stack.issuer.token("alice", ["users"])


def keys_at(stack: Stack, model: str) -> list[str]:
    """The `Authorization` of each request that reached the model."""
    taken = stack.models[f"{model}/v1"].taken()
    return [value for request in taken for value in request.header("authorization") or ["none"]]


def status(stack: Stack) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(stack.command("status", "--json").stdout)
    return told


def age(stack: Stack, name: str) -> dict[str, Any]:
    return next(each for each in status(stack)["credentials"] if each["name"] == name)


def reach(stack: Stack, model: str) -> tuple[str, str]:
    guard = next(each for each in status(stack)["guards"] if each["model"] == model)
    return guard["reach"], guard["weakest"]


def test_each_server_gets_its_own_key_and_the_callers_token_goes_no_further(stack: Stack, alice: str) -> None:
    for name, key in FIRST.items():
        assert stack.call("POST", ASK.format(name), alice, {}).status == 200
        assert keys_at(stack, name) == [f"Bearer {key}"]
    assert stack.call("POST", ASK.format("plain"), alice, {}).status == 200
    assert keys_at(stack, "plain") == ["none"]


def test_nobody_inside_the_mesh_brings_another_key(stack: Stack, alice: str) -> None:
    inside, guard = Inside(stack), stack.guard("file")
    for headers in ({"Authorization": "Bearer forged"}, {"authorization": alice}, {"Authorization": ""}):
        reply = knock(
            guard, stack.instance.root_certificate, "POST", "/ask",
            svid=inside.svid(), txn=inside.txn("file.infer"), headers=headers,
        )  # fmt: skip
        assert reply is not None and reply.status == 200
    assert keys_at(stack, "file") == [f"Bearer {FIRST['file']}"] * 3


def test_keys_rotate_under_load_without_a_failed_request(stack: Stack, alice: str) -> None:
    """The file's is taken unasked; the others when asked. The server takes the old and the new, as real ones must."""
    accepted = {name: {f"Bearer {key}"} for name, key in FIRST.items()}
    refused: list[Received] = []

    def demanding(name: str) -> Any:
        def answer(request: Received, connection: socket) -> None:
            if request.header("authorization") and set(request.header("authorization")) <= accepted[name]:
                return plain_answer(request, connection)
            refused.append(request)
            connection.sendall(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")
            return None

        return answer

    for name in FIRST:
        stack.models[f"{name}/v1"].answer = demanding(name)
    answers, stop = {name: list[int]() for name in FIRST}, threading.Event()

    def call(name: str) -> None:
        while not stop.is_set():
            answers[name].append(stack.call("POST", ASK.format(name), alice, {}).status)

    def call_anew() -> None:
        """Wait until each caller has had an answer to what he asked from now on: what was under way is over."""
        before = {name: len(each) for name, each in answers.items()}
        eventually(lambda: all(len(answers[name]) > before[name] + 1 for name in FIRST), what="answers")

    with at_work(stop, *(partial(call, name) for name in FIRST)):
        for turn in range(2, 6):
            new = {name: f"key-of-{name}-{turn}" for name in FIRST}
            for name, key in new.items():
                accepted[name].add(f"Bearer {key}")
            write_atomic(stack.policy.parent / "file.key", new["file"])
            write_atomic(stack.policy.parent / "command.key", new["command"])
            for name, value in (("command", None), ("env", new["env"])):
                request = {"do": "rotate", "what": "credential", "name": f"from-{name}", "value": value}
                done = ask(stack.state, request, lambda _: None)
                assert done["changed"] and done["guards"] == [f"{name}/v1"], done
                stack.models[f"{name}/v1"].taken()
                assert stack.call("POST", ASK.format(name), alice, {}).status == 200
                assert f"Bearer {new[name]}" in keys_at(stack, name)
            eventually(
                lambda k=new["file"]: f"Bearer {k}" in keys_at(stack, "file"), what="the file's new key"
            )
            call_anew()
            for name, key in new.items():
                accepted[name] = {f"Bearer {key}"}
            call_anew()
    for name in FIRST:
        stack.models[f"{name}/v1"].answer = plain_answer
    assert refused == [] and [set(each) for each in answers.values()] == [{200}] * len(FIRST)
    FIRST.update({name: f"key-of-{name}-5" for name in FIRST})


def test_a_source_that_breaks_later_leaves_the_older_key_and_is_named(stack: Stack, alice: str) -> None:
    file, command = stack.policy.parent / "file.key", stack.policy.parent / "command.key"
    for spoil, sentence in (
        (lambda: write_atomic(file, "", 0o600), "empty"),
        (lambda: write_atomic(file, "key-that-all-can-read", 0o644), "0644"),
        (file.unlink, "No such file"),
    ):
        spoil()
        eventually(lambda s=sentence: s in age(stack, "from-file")["problem"], what=sentence)
        shown = stack.command("status")
        assert shown.returncode == Exit.FINDINGS and "It stays, because" in shown.stdout
        assert stack.call("POST", ASK.format("file"), alice, {}).status == 200
        assert keys_at(stack, "file") == [f"Bearer {FIRST['file']}"]
        assert "key-that-all-can-read" not in shown.stdout
    command.unlink()
    with pytest.raises(MeshwardError, match="exited with code 1") as raised:
        ask(stack.state, {"do": "rotate", "what": "credential", "name": "from-command"}, lambda _: None)
    assert (raised.value.code.number, raised.value.exit_code) == ("MW3060", Exit.UNSAFE)
    write_atomic(file, FIRST["file"])
    write_atomic(command, FIRST["command"])
    eventually(lambda: not age(stack, "from-file")["problem"], what="it is mended")
    assert stack.command("status").returncode == 0


def test_a_guard_that_does_not_take_a_key_is_named_and_the_older_one_stays(stack: Stack, alice: str) -> None:
    file = stack.policy.parent / "command.key"
    write_atomic(file, "key-of-command-lost")
    try:
        with (
            liar(stack.run / "guards" / stack.guard("command").slot / "admin.sock"),
            pytest.raises(MeshwardError, match="the guard of command/v1") as raised,
        ):
            ask(stack.state, {"do": "rotate", "what": "credential", "name": "from-command"}, lambda _: None)
    finally:
        write_atomic(file, FIRST["command"])
    assert raised.value.exit_code == Exit.HOP_REFUSED
    assert stack.call("POST", ASK.format("command"), alice, {}).status == 200
    assert keys_at(stack, "command") == [f"Bearer {FIRST['command']}"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("from-env", None),
        ("from-file", "x"),
        ("generated", None),
        ("nobody", None),
        ("from-env", "two\nlines"),
    ],
)
def test_what_cannot_be_rotated_so_is_refused_and_changes_nothing(
    stack: Stack, alice: str, name: str, value: str | None
) -> None:
    with pytest.raises(MeshwardError) as raised:
        request = {"do": "rotate", "what": "credential", "name": name, "value": value}
        ask(stack.state, request, lambda _: None)
    assert raised.value.code.number in ("MW3060", "MW3061") and raised.value.remedy
    assert stack.call("POST", ASK.format("env"), alice, {}).status == 200
    assert keys_at(stack, "env") == [f"Bearer {FIRST['env']}"]


def test_a_policy_whose_key_cannot_be_had_is_refused_by_name(stack: Stack, alice: str) -> None:
    text = json.loads(stack.policy.read_text())
    before, processes = stack.instance.revision, stack.processes()
    text["credentials"]["from-file"]["path"] = str(stack.policy.parent / "none.key")
    with pytest.raises(MeshwardError, match="`from-file` cannot be had") as raised:
        apply(stack, policy_of(text), allow=["widening"])
    assert (raised.value.code.number, raised.value.exit_code) == ("MW3060", Exit.UNSAFE)
    assert (stack.instance.revision, stack.processes()) == (before, processes)
    assert stack.call("POST", ASK.format("file"), alice, {}).status == 200
    text["edge"]["listen"] = f"127.0.0.1:{free_port()}"
    started = meshward(*START, write(stack, text), "--state", str(stack.policy.parent / "t"))
    assert started.returncode == Exit.UNSAFE and "`from-file` cannot be had" in started.stderr


def test_another_place_is_another_file_and_sending_a_secret_elsewhere_is_widening(
    stack: Stack, alice: str
) -> None:
    text, processes = json.loads(stack.policy.read_text()), stack.processes()
    other = stack.policy.parent / "other.key"
    write_atomic(other, "key-of-the-other-file")
    text["credentials"]["from-file"]["path"] = str(other)
    planned = json.loads(stack.command("plan", write(stack, text), "--json").stdout)
    assert [(h["hop"], h["files"]) for h in planned["hops"]["hops"]] == [
        ("decision service", ["policy.json", "live.json"]), ("guard of file/v1", ["xds/credential.json"])
    ]  # fmt: skip
    with pytest.raises(MeshwardError, match=f"file {other}, is sent to unix:"):
        apply(stack, policy_of(text))
    apply(stack, policy_of(text), allow=["widening"])
    assert stack.call("POST", ASK.format("file"), alice, {}).status == 200
    assert keys_at(stack, "file") == ["Bearer key-of-the-other-file"]
    apply(stack, policy_of(json.loads(stack.policy.read_text())), allow=["widening"])
    assert stack.call("POST", ASK.format("file"), alice, {}).status == 200
    assert keys_at(stack, "file") == [f"Bearer {FIRST['file']}"]
    assert stack.processes() == processes
    eventually(
        lambda: [each["name"] for each in status(stack)["credentials"]].count("from-file") == 1,
        what="the key that no guard sends is forgotten",
    )


def test_a_generated_key_closes_a_port_only_where_its_server_demands_it(
    stack: Stack, alice: str, keyed: Keyed
) -> None:
    file = stack.state / "credentials" / "ours" / "v1"
    assert file.stat().st_mode & 0o777 == 0o600
    assert reach(stack, "ours")[0] == "open", "it takes requests without a key"
    keyed.key = file.read_text().strip()
    assert stack.call("POST", ASK.format("ours"), alice, {}).status == 200
    apply(stack, policy_of(touched(stack)))
    assert reach(stack, "ours")[0] == "key"
    assert "by a key that only its guard sends" in stack.command("status").stdout
    keyed.key = "another-key-that-nobody-has"
    assert stack.call("POST", ASK.format("ours"), alice, {}).status == 401
    write_atomic(file, keyed.key)  # as an operator who gives the server a new one
    eventually(lambda: stack.call("POST", ASK.format("ours"), alice, {}).status == 200, what="the new key")
    file.unlink()
    eventually(lambda: "No such file" in age(stack, "ours/v1")["problem"], what="its absence is told")
    assert stack.call("POST", ASK.format("ours"), alice, {}).status == 200 and not file.exists()
    write_atomic(file, keyed.key)
    keyed.key = None
    apply(stack, policy_of(json.loads(stack.policy.read_text())))
    assert reach(stack, "ours")[0] == "open"


def test_a_replica_joins_without_a_new_guard_and_the_worst_reach_counts(stack: Stack, alice: str) -> None:
    text, processes = json.loads(stack.policy.read_text()), stack.processes()
    spare = stack.models["spare/v1"].path
    text["models"]["plain"]["versions"]["v1"]["replicas"] = [f"unix:{spare}"]
    planned = stack.command("plan", write(stack, text)).stdout
    assert f"+unix:{spare}" in planned and "guard of plain/v1: xds/cds.json" in planned
    assert "a guard starts" not in planned and "no proxy is reloaded" in planned
    apply(stack, policy_of(text))
    assert stack.processes() == processes
    for _ in range(30):
        assert stack.call("POST", ASK.format("plain"), alice, {}).status == 200
    seen = [keys_at(stack, name) for name in ("plain", "spare")]
    assert all(seen) and {key for keys in seen for key in keys} == {"none"}
    if os.geteuid() == 0:
        assert reach(stack, "plain")[0] == "socket"
    spare.chmod(0o666)
    text["models"]["plain"]["labels"] = {"again": "yes"}
    apply(stack, policy_of(text))
    assert reach(stack, "plain") == ("open", f"unix:{spare}")
    assert f"OPEN: others can reach it past its guard (as unix:{spare})" in stack.command("status").stdout
    spare.chmod(0o660)
    apply(stack, policy_of(json.loads(stack.policy.read_text())))


def test_no_key_is_written_or_said_anywhere_else(stack: Stack, alice: str) -> None:
    """Last: whatever the tests before did is in these files."""
    assert stack.call("POST", ASK.format("env"), alice, {}).status == 200
    secrets = ["key-of-", "key-that-all", (stack.state / "credentials/ours/v1").read_text().strip()]
    homes = {"credential.json"}
    for file, content in stack.files():
        if file.name not in homes and file.parent.parent.name != "credentials":
            found = [secret for secret in secrets if secret.encode() in content]
            assert not found, f"{file}: {found}"
    modes = {file.stat().st_mode & 0o777 for file in stack.run.rglob("credential.json")}
    assert modes <= {0o640, 0o600} and modes
    shown = (stack.policy.parent / "up.log").read_text()
    lines = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in stack.processes().values()]
    environments = [Path(f"/proc/{pid}/environ").read_bytes() for pid in stack.processes().values()]
    for secret in secrets:
        assert secret not in shown and secret.encode() not in b"".join(lines + environments)


def touched(stack: Stack) -> dict[str, Any]:
    """The first policy with a difference that means nothing."""
    text: dict[str, Any] = copy.deepcopy(json.loads(stack.policy.read_text()))
    text["models"]["ours"]["labels"] = {"touched": "yes"}
    return text


def write(stack: Stack, text: dict[str, Any]) -> str:
    path = stack.policy.parent / "changed.json"
    path.write_text(json.dumps(text))
    return str(path)
