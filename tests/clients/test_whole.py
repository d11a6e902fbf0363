"""A person signs in for a real edge at a real issuer, and then programs call: every example of docs/clients.md."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx2
import pytest

from meshward import clients
from meshward.login.store import LoginStore, own_store
from tests.clients.model_servers import Knowing, answer
from tests.oidc_provider.running import AUDIENCE, CLIENT, OidcProvider, Person
from tests.stack import running as stacks
from tests.stack.policies import TRUST_DOMAIN
from tests.stack.running import Stack

PAGE = Path(__file__).parents[2] / "docs" / "clients.md"
_SECTIONS = re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", PAGE.read_text(), re.MULTILINE | re.DOTALL)
EXAMPLES = {
    name if number == 1 else f"{name}, {number}": text
    for name, section in _SECTIONS
    for number, text in enumerate(
        re.findall(r"^```(?:python|sh)\n(.*?)```", section, re.MULTILINE | re.DOTALL), 1
    )
}
SAID = {
    "huggingface_hub": "(1, 3)",
    "huggingface_hub, 2": "hello yourself",
    "openai": "hello yourself",
    "smolagents": "hello yourself",
    "smolagents, 2": "hello yourself",
    "langchain": "hello yourself\n3",
    "httpx2": "200 ",
    "curl": "[[0.1, 0.2, 0.3]]",
}
"""What each example prints."""
MESHWARD = str(Path(sys.executable).with_name("meshward"))


def policy(issuer: str, port: int, sockets: dict[str, Path]) -> dict[str, Any]:
    kinds = {
        "minilm": {"server": "tei"},
        "assistant": {"server": "vllm", "model": "Qwen/Qwen3-0.6B"},
        "qwen": {"server": "vllm"},
    }
    return {
        "version": 1,
        "trust_domain": TRUST_DOMAIN,
        "edge": {"listen": f"127.0.0.1:{port}", "hostname": "localhost"},
        "issuers": {
            "test": {
                "profile": "oidc", "issuer": issuer, "audience": AUDIENCE, "groups": "/groups",
                "login": {"client": CLIENT}, "jwks": {"allow": ["http", "private"]},
            }
        },
        "roles": {"user": [{"issuer": "test", "group": "data-science"}]},
        "models": {
            name: {"versions": {"v1": {**kind, "url": f"unix:{sockets[f'{name}/v1']}"}}}
            for name, kind in kinds.items()
        },
        "grants": [{"id": "g", "roles": ["user"], "models": "all", "actions": ["infer", "describe"]}],
    }  # fmt: skip


@dataclass
class Home:
    """A person's: their state, a directory to work in, and an edge."""

    stack: Stack
    directory: Path
    provider: OidcProvider

    @property
    def edge(self) -> str:
        return self.stack.instance.edge_url

    @property
    def env(self) -> dict[str, str]:
        bin_directory = Path(sys.executable).parent
        return {
            "PATH": f"{bin_directory}:{os.environ['PATH']}",
            "HOME": str(self.directory),
            "XDG_STATE_HOME": str(self.directory / "xdg"),
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_TOKEN": "hf_canary_of_the_hub",
            "OPENAI_API_KEY": "canary-of-openai",
        }

    @property
    def keep(self) -> LoginStore:
        return own_store(self.env)

    def run(self, *command: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, cwd=self.directory, env=self.env, input=text, capture_output=True, text=True, timeout=120
        )

    def meshward(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.run(MESHWARD, *arguments)

    def login(self, person: str, *more: str) -> subprocess.CompletedProcess[str]:
        """As a person over ssh: reads what is printed, and goes to the issuer's page with it."""
        command = [MESHWARD, "login", "--no-browser", *more]
        with subprocess.Popen(
            command,
            cwd=self.directory,
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout and process.stderr
            said = ""
            for line in process.stderr:
                said += line
                if line.startswith("and enter the code"):
                    Person(person).device(f"{self.provider.full}/device", line.split()[-1])
            return subprocess.CompletedProcess(command, process.wait(60), process.stdout.read(), said)


@pytest.fixture(scope="module")
def nobody(short_dir: Path, oidc_provider: OidcProvider) -> Iterator[Home]:
    """Before anybody signed in."""

    def write(_: Path, port: int, directory: Path) -> dict[str, Path]:
        sockets = {f"{name}/v1": directory / f"{name}.sock" for name in ("minilm", "assistant", "qwen")}
        (directory / "policy.yaml").write_text(json.dumps(policy(oidc_provider.full, port, sockets)))
        return sockets

    with stacks.running(short_dir, write) as stack:
        for model in stack.models.values():
            model.answer = answer
        stack.models["assistant/v1"].answer = Knowing({"Qwen/Qwen3-0.6B"})
        stack.models["qwen/v1"].answer = Knowing({"qwen"})
        (short_dir / ".meshward").symlink_to(stack.state)
        yield Home(stack, short_dir, oidc_provider)


@pytest.fixture(scope="module")
def home(nobody: Home) -> Home:
    """Alice is signed in."""
    done = nobody.login("alice")
    assert done.returncode == 0 and f"signed in for {nobody.edge}" in done.stdout, done
    assert f"{nobody.provider.full}/device" in done.stderr
    return nobody


def test_before_a_login_every_command_says_what_to_do(nobody: Home) -> None:
    for command in ("token", "whoami", "logout"):
        done = nobody.meshward(command)
        assert done.returncode == 2 and done.stdout == "" and "meshward login" in done.stderr, done


def test_token_prints_the_token_and_nothing_else(home: Home) -> None:
    done = home.meshward("token")
    login = home.keep.load(home.edge)
    assert login is not None and done.stdout == f"{login.token.reveal()}\n" and done.stderr == ""
    assert home.meshward("token", "--header").stdout == f"Authorization: Bearer {login.token.reveal()}\n"
    assert home.meshward("token", "--edge", home.edge).stdout == done.stdout


def test_whoami(home: Home) -> None:
    done = home.meshward("whoami")
    assert done.returncode == 0, done
    for words in (
        "test:alice",
        "roles: user",
        "minilm.infer  (grant g",
        "assistant.describe",
        "token good until",
    ):
        assert words in done.stdout, done.stdout
    told = json.loads(home.meshward("whoami", "--json").stdout)
    assert told["identity"] == "test:alice" and told["client"] == CLIENT and len(told["permissions"]) == 6


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_the_example(home: Home, name: str) -> None:
    """As it stands on the page, but for the port."""
    home.stack.taken()
    example = EXAMPLES[name].replace("https://localhost:8443", home.edge)
    done = home.run("sh", "-c", example) if name == "curl" else home.run(sys.executable, "-c", example)
    assert done.returncode == 0, done.stderr
    seen = home.stack.taken()
    assert seen
    assert SAID[name] in done.stdout, done
    assert "canary" not in str([(r.headers, r.body) for r in seen]) and b"hello" in seen[0].body


def test_all_the_examples_are_there() -> None:
    assert set(EXAMPLES) == set(SAID)
    assert all(len(text.splitlines()) <= 10 for text in EXAMPLES.values())


def expire(home: Home) -> str:
    """The stored token, from now on said to be over in 30 s."""
    login = home.keep.load(home.edge)
    assert login is not None
    home.keep.save(replace(login, expires_at=int(time.time()) + 30))
    return login.token.reveal()


def test_a_token_that_is_nearly_over_is_refreshed(home: Home) -> None:
    old = expire(home)
    home.provider.events()
    new = home.meshward("token").stdout.strip()
    assert new != old and home.provider.events() == ["refresh_token"]
    assert home.meshward("token").stdout.strip() == new
    assert (
        home.stack.call("POST", "/m/minilm/embed", new, {"inputs": "x"}, {"Host": home.edge[8:]}).status
        == 200
    )


def test_clients_refresh_by_themselves(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home.directory)
    monkeypatch.setenv("XDG_STATE_HOME", home.env["XDG_STATE_HOME"])
    for name in ("MESHWARD_STATE", "MESHWARD_EDGE"):
        monkeypatch.delenv(name, raising=False)
    key = clients.api_key()
    before = key()
    expire(home)
    assert key() == before  # not asked again while the one in hand holds
    with clients.http_client() as http:
        assert http.post("/m/minilm/embed", json={"inputs": "x"}).status_code == 200
    assert home.meshward("token").stdout.strip() != before


def test_the_token_is_sent_to_the_edge_alone(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", home.env["XDG_STATE_HOME"])
    auth = clients.BearerAuth(home.edge)
    for url, sent in (
        (f"{home.edge}/m/minilm/x?a=b", True),
        (home.edge.upper().replace("HTTPS", "https"), True),
        (home.edge.replace("https", "http"), False),
        ("https://localhost/m/minilm", False),
        (f"{home.edge}0/", False),
        (home.edge.replace("localhost", "localhost.evil.test"), False),
        (home.edge.replace("https://", "https://evil.test@"), False),
        ("https://huggingface.co/api", False),
    ):
        request = httpx2.Request("GET", url, headers={"Authorization": "Bearer own"})
        prepared = next(auth.sync_auth_flow(request))
        assert (prepared.headers["Authorization"] != "Bearer own") is sent, url


def test_the_hub_keeps_its_own_token_and_its_own_trust(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", home.env["XDG_STATE_HOME"])
    with clients.client_factory(home.edge)() as http:
        own = {"Authorization": "Bearer hf_own"}
        assert http.post(f"{home.edge}/m/minilm/embed", json={"inputs": "x"}, headers=own).status_code == 200
        with pytest.raises(httpx2.ConnectError, match="certificate"):
            http.get(home.edge.replace("localhost", "127.0.0.1"))


def test_asynchronous_programs(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", home.env["XDG_STATE_HOME"])
    old = expire(home)

    async def call() -> int:
        async with clients.async_http_client(home.edge) as http:
            return (await http.post("/m/minilm/embed", json={"inputs": "x"})).status_code

    assert asyncio.run(call()) == 200
    login = home.keep.load(home.edge)
    assert login is not None and login.token.reveal() != old


def test_a_person_without_a_role_learns_who_they_are(home: Home) -> None:
    """Bob is known, and may nothing."""
    other = Home(home.stack, home.directory / "bob", home.provider)
    other.directory.mkdir()
    done = other.login("bob", "--edge", home.edge)
    assert done.returncode != 0 and "--cacert" in done.stderr, done  # the edge's root is not this machine's
    root = str(home.stack.instance.root_certificate)
    assert other.login("bob", "--edge", home.edge, "--cacert", root).returncode == 0
    told = other.meshward("whoami")
    assert told.returncode == 0 and "test:bob" in told.stdout and "may call nothing here" in told.stdout, told


def test_ctrl_c_stops_a_login_and_stores_nothing(home: Home) -> None:
    other = Home(home.stack, home.directory / "carol", home.provider)
    other.directory.mkdir()
    process = subprocess.Popen(
        [MESHWARD, "login", "--no-browser", "--state", str(home.stack.state)],
        cwd=other.directory, env=other.env, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr
    assert any("enter the code" in line for line in iter(process.stderr.readline, ""))
    process.send_signal(2)
    rest = process.stderr.read()
    assert process.wait(60) == 1 and "nothing was stored" in rest and "Traceback" not in rest
    assert other.keep.names() == []


def test_no_token_is_in_any_log_or_argument(home: Home) -> None:
    token = home.meshward("token").stdout.strip()
    signature = token.rpartition(".")[2]
    for file, content in home.stack.files():
        assert signature.encode() not in content, file


def test_logout_revokes_and_forgets(home: Home) -> None:
    """Last: it ends Alice's login."""
    home.provider.events()
    done = home.meshward("logout")
    assert done.returncode == 0 and "revoked at the issuer too" in done.stdout, done
    assert "revoked" in home.provider.events() and home.keep.names() == []
    assert home.meshward("token").returncode == 2
