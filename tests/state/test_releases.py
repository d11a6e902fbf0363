"""What an older release left is where a newer one begins: each file is read, and an instance goes on from it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from meshward.apply.counters import COUNTERS
from meshward.apply.revisions import ACCEPTED, Revisions
from meshward.apply.traffic.canary_store import load_canaries
from meshward.demo.keyring import KEYS, KeyRing
from meshward.kit.durable import write_atomic
from meshward.runtime.place.identities import NUMBERS
from meshward.tokens.key_store import load as load_keys
from tests.stack.live import apply
from tests.stack.running import Stack, eventually, running
from tests.state.files import state_files
from tests.state.kept import RELEASES, put_kept

PATH = "/m/m/v1/embed"
KEPT_FILES = {name: file for name, file in state_files().items() if not name.startswith("RUN/")}
NEWER = {"STATE/unsettled.json", "STATE/records.json", "STATE/issuer-keys.json"}  # what no release kept yet
KEPT_REVOKED = {"until": None, "since": 0, "author": "", "reason": "", "names": (), "known": ()}
FACTS: dict[str, Any] = {
    "counters.json": {"revision": 3, "epoch": 3, "generation": 2, "slots": {"m/v1": 0, "m/v2": 1}},
    "revocations.json": {"subjects": {"test:olga": KEPT_REVOKED}, "tokens": {}, "agents": {}},
    "ejected.json": {"ejected": {"m/v2": "its health check fails"}},
    "workloads.json": {"ends": {"c31cba7b7c97183feffc8f0cc8df0c4389c9779ed9ecbea2cd953990827b9891": 1795904214}},
    "ca.json": {"root": "root", "issuing": "issuing.2", "number": 2, "overlap": None},
    "program.json": {"listen_host": "127.0.0.1", "rates": (), "max_body": 2097152, "longest_timeout": 60},
    "accounts.json": {"accounts": dict.fromkeys(("alice", "bob", "carol", "demo-batch"), "no-password")},
    "NNNN.json": {"number": 2, "status": "accepted", "parent": 1, "author": "root", "reason": "weights", "why": ""},
    "EDGE.json": {"name": "https://edge.test", "keyring": False, "tokens": {"token": "no-token", "refresh": None}},
    "identities.json": {
        "numbers": {"decide": 65502, "edge": 63540, "guard-00-m-v1": 62915, "guard-01-m-v2": 62558}
    },
    "instance.json": {"trust_domain": "models.test", "revision": 3, "idp_url": None},
}  # fmt: skip
"""Of what each file of 0.1.0 says, written by hand; what is not here is named by the tests below, or by a date."""


@pytest.fixture(params=RELEASES)
def release(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_each_file_is_read(release: str, tmp_path: Path) -> None:
    put_kept(release, tmp_path, 48855)
    _keep_the_demos_keys(tmp_path / "s")
    for name, file in KEPT_FILES.items():
        directory, held = tmp_path / "s" / file.place.removeprefix("STATE").lstrip("/"), None
        if file.place == "STATE/revisions":
            held = Revisions(tmp_path / "s").all()[1]
        elif name.startswith("$XDG"):
            (path,) = (tmp_path / "login").iterdir()
            held = file.decode(path.read_bytes(), path)
        else:
            held = file.read(directory)
        if name in NEWER:
            continue
        assert held is not None, f"{release} kept no {name}"
        facts = FACTS.get(file.name, {})
        assert {key: asdict(held)[key] for key in facts} == facts, name


def _keep_the_demos_keys(state: Path) -> None:
    """Private keys are in no repository: made now, and written as 0.1.0 did."""
    KeyRing(state, lambda: 1.0).rotate()
    file = state / "demo" / KEYS.name
    value = json.loads(file.read_text())
    del value["format"]
    write_atomic(file, json.dumps(value))


@pytest.fixture(scope="module", params=RELEASES)
def stack(request: pytest.FixtureRequest, short_dir: Path) -> Iterator[Stack]:
    with running(short_dir, partial(_put, request.param)) as started:
        yield started


def _put(release: str, jwks: Path, port: int, directory: Path) -> dict[str, Path]:
    state = put_kept(release, directory, port)
    (directory / "policy.yaml").write_bytes((state / "revisions" / "0003.policy.json").read_bytes())
    return {f"m/{version}": directory / f"{version}.sock" for version in ("v1", "v2")}


def test_an_instance_goes_on_from_it(stack: Stack) -> None:
    revisions = Revisions(stack.state)
    assert [(each.number, each.status) for each in revisions.all()] == [(n, ACCEPTED) for n in (1, 2, 3)]
    counters = COUNTERS.read(stack.state)
    assert counters and (counters.revision, counters.slots) == (3, {"m/v1": 0, "m/v2": 1})
    assert counters.epoch > 3 and counters.generation > 2, "numbers only rise"
    assert not (stack.state / "book.json").exists()
    assert load_canaries(stack.state)["m"].sentence.startswith("walk of v2, step 1 of 2")
    if os.geteuid() == 0:
        numbers = NUMBERS.read(stack.state)
        assert numbers and numbers.numbers == FACTS["identities.json"]["numbers"]


def test_who_was_revoked_is_and_others_are_served(stack: Stack) -> None:
    alice, olga = (
        stack.call("POST", PATH, stack.issuer.token(who, ["users"]), {}) for who in ("alice", "olga")
    )
    assert alice.status == 200
    assert olga.status == 401 and "revoked" in olga.headers["x-error-message"], olga


def test_the_next_change_has_the_next_number(stack: Stack) -> None:
    before = load_keys(stack.state / "keys").current.kid
    policy = Revisions(stack.state).policy(3)
    changed = policy.model_copy(update={"grants": []})
    assert apply(stack, changed, allow=["widening"])["revision"] == 4
    current = eventually(lambda: Revisions(stack.state).current(), what="a revision")
    assert current.number == 4 and load_keys(stack.state / "keys").current.kid == before
    assert json.loads((stack.state / "counters.json").read_text())["format"] == COUNTERS.format
