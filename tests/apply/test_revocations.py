"""Revocations of a whole instance: who can be named, under which names they hold, and a list that is lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from meshward.kit.errors import MeshwardError
from meshward.kit.exits import Exit
from meshward.testing.instance import START
from tests.apply.test_live_changes import load, statuses
from tests.apply.test_watch_and_start import log_of, start
from tests.hostile.conftest import write_hostile
from tests.stack.asking import ask
from tests.stack.command import meshward
from tests.stack.inside import Inside, knock
from tests.stack.live import apply, policy_of
from tests.stack.running import Stack, eventually, running

PATH = "/m/m1/v1/public"


@pytest.fixture(scope="module")
def stack(short_dir: Path) -> Iterator[Stack]:
    with running(short_dir, write_hostile) as started:
        yield started


@pytest.fixture
def text(stack: Stack) -> Iterator[dict[str, Any]]:
    """The first policy; nobody is revoked any more after a test."""
    first: dict[str, Any] = json.loads(stack.policy.read_text())
    yield first
    for each in listed(stack)["revocations"]:
        revoke(stack, **{FIELDS[each["kind"]]: each["name"]}, undo=True)
    apply(stack, policy_of(first), allow=["widening"])


FIELDS = {"subject": "subject", "token": "token_id", "agent": "agent"}


def revoke(stack: Stack, **asked: Any) -> dict[str, Any]:
    """What the instance says. Raises MeshwardError as it does."""
    return ask(stack.state, {"do": "revoke", **asked}, lambda _: None)


def listed(stack: Stack) -> dict[str, Any]:
    return revoke(stack)


def changes(stack: Stack, did: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = ask(stack.state, {"do": "history", "changes": True}, lambda _: None)[
        "changes"
    ]
    return [each for each in found if each["did"] == did]


def renamed(text: dict[str, Any], name: str) -> dict[str, Any]:
    """The issuer `test` is called `name`, wherever it is named."""
    changed: dict[str, Any] = json.loads(json.dumps(text).replace('"issuer": "test"', f'"issuer": "{name}"'))
    changed["issuers"] = {name: changed["issuers"].pop("test")}
    return changed


def test_who_is_nobody_is_refused_and_nothing_is_done(stack: Stack, text: dict[str, Any]) -> None:
    alice = stack.issuer.token("alice", ["users"])
    assert statuses(stack, alice, PATH) == [200]
    kept = (stack.state / "revocations.json").read_bytes()
    asked: list[tuple[dict[str, Any], str, str]] = [
        ({"subject": "tset:alice"}, "MW0903", "test:alice"),
        ({"subject": "alice"}, "MW0904", "test:alice"),
        ({"subject": "alice", "unknown": True}, "MW0904", "test:alice"),
        ({"agent": "helper"}, "MW0903", "no agent"),
        ({"subject": "workload:scorre"}, "MW0903", "workload:scorer"),
        ({"subject": "test:alice", "undo": True}, "MW0903", "not revoked"),
        ({"subject": "test:alice", "until": 1}, "MW0903", "that end is past"),
        ({"until": 5}, "MW3028", "at a time"),
    ]
    for given, code, means in asked:
        with pytest.raises(MeshwardError) as told:
            revoke(stack, **given)
        error = told.value
        assert (error.code.number, error.exit_code) == (code, Exit.USAGE), given
        assert means in error.message + error.remedy, error
    done = stack.command("revoke", "--subject", "test:alcie")
    assert done.returncode == Exit.USAGE and "MW0903" in done.stderr and "test:alice" in done.stderr, done
    assert (stack.state / "revocations.json").read_bytes() == kept and statuses(stack, alice, PATH) == [200]
    assert {each["outcome"] for each in changes(stack, "revoke")} <= {"refused", "unfinished"}
    revoke(stack, subject="test:leaver", unknown=True)
    assert statuses(stack, stack.issuer.token("leaver", ["users"]), PATH) == [401], "before they ever called"


def test_a_reason_an_end_and_an_undo_are_kept_and_shown(stack: Stack, text: dict[str, Any]) -> None:
    alice = stack.issuer.token("alice", ["users"])
    statuses(stack, alice, PATH)
    whom = ("--subject", "test:alice")
    assert stack.command("revoke", *whom, "--reason", "left us", "--until", "2099-12-31").returncode == 0
    (entry,) = listed(stack)["revocations"]
    assert (entry["reason"], entry["until"], entry["since"] > 0) == ("left us", 4102444800, True)
    assert "until 2100-01-01 00:00:00Z" in (said := stack.command("revoke").stdout) and "(left us)" in said
    eventually(
        lambda: any(each["facts"].get("reason") == "left us" for each in changes(stack, "revoke")),
        what="its record",
    )
    assert statuses(stack, alice, PATH) == [401]
    assert stack.command("revoke", *whom, "--until", "9999-12-31").returncode == 0
    done = stack.command("revoke", *whom, "--undo", "--reason", "came back")
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "subject test:alice: revoked no more"), done
    assert statuses(stack, alice, PATH) == [200] and listed(stack)["subjects"] == {}
    eventually(
        lambda: any(each["facts"].get("undo") == "true" for each in changes(stack, "revoke")),
        what="its record",
    )


def test_a_jti_that_is_a_number_can_be_revoked(stack: Stack, text: dict[str, Any]) -> None:
    one, text_one, other = (stack.issuer.token("alice", ["users"], jti=jti) for jti in (17, "17", 18))
    assert [statuses(stack, each, PATH)[0] for each in (one, text_one, other)] == [200, 200, 200]
    said = stack.command("revoke", "--token-id", "17").stdout
    assert said.startswith("Whether any token has the `jti` 17 nobody can tell"), said
    assert [statuses(stack, each, PATH)[0] for each in (one, text_one, other)] == [401, 401, 200]


def test_a_renamed_issuer_keeps_the_revocation_without_a_gap(stack: Stack, text: dict[str, Any]) -> None:
    """While requests of the revoked one go on: over applies, a rollback, an edited start, kill -9."""
    alice, carol = (stack.issuer.token(name, ["users"]) for name in ("alice", "carol"))
    statuses(stack, alice, PATH)
    before, inside = stack.instance.revision, Inside(stack)
    revoke(stack, subject="test:alice")
    with load(stack, (PATH, alice)) as seen:
        for name in ("sso", "corp"):
            apply(stack, policy_of(renamed(text, name)), allow=["widening"])
            assert statuses(stack, carol, PATH) == [200]
        ask(stack.state, {"do": "rollback", "revision": before, "allow": ["widening"]}, lambda _: None)
        apply(stack, policy_of(renamed(text, "sso")), allow=["widening"])
        eventually(lambda: len(seen) > 20, what="requests")
    assert set(seen) == {401}, sorted(set(seen))
    txn = inside.txn("m1.infer", subject="sso:alice")
    reply = knock(
        stack.guard("m1"), str(stack.state / "root.pem"), "GET", "/v1/public", svid=inside.svid(), txn=txn
    )
    assert reply is not None and reply.status == 403, "nor at the guard, by the new name"
    assert {"test:alice", "sso:alice", "corp:alice"} == set(listed(stack)["subjects"])

    moved = renamed(text, "okta")
    edited = stack.policy.with_name("edited.yaml")
    edited.write_text(json.dumps(moved))
    stack.process.kill()
    stack.process.wait(60)
    start(stack, str(edited))
    assert statuses(stack, alice, PATH) == [401] and statuses(stack, carol, PATH) == [200]
    revoke(stack, subject="okta:alice", undo=True)
    assert statuses(stack, alice, PATH) == [200] and listed(stack)["subjects"] == {}


def test_a_list_that_is_lost_closes_until_somebody_says_so(stack: Stack, text: dict[str, Any]) -> None:
    """
    1. While it runs it knows: `status` names the file, a change writes it anew, and who was revoked stays refused.
    2. A start refuses one that is gone, and one that is older.
    3. Somebody may say that it is to start with what there is; that is written down.
    """
    file, alice = stack.state / "revocations.json", stack.issuer.token("alice", ["users"])
    statuses(stack, alice, PATH)
    older = file.read_bytes()
    revoke(stack, subject="test:alice")
    file.unlink()  # 1
    seen = stack.command("status")
    assert seen.returncode == Exit.FINDINGS and "is gone: nobody can tell who was revoked" in seen.stdout
    more = {**text, "grants": [*text["grants"], {**text["grants"][0], "id": "again"}]}
    apply(stack, policy_of(more))
    assert statuses(stack, alice, PATH) == [401] and "test:alice" in file.read_text()
    newest = file.read_bytes()
    os.kill(stack.process.pid, signal.SIGTERM)  # 2
    stack.process.wait(60)
    for harm in (file.unlink, lambda: file.write_bytes(older)):
        harm()
        done = _up(stack)
        assert done.returncode == Exit.FAULT and "MW2033" in done.stderr + done.stdout, done
    told = meshward("status", "--state", str(stack.state))
    assert told.returncode == Exit.FINDINGS and "revocations.json` is not the last list" in told.stdout
    file.write_bytes(newest)
    start(stack)
    assert statuses(stack, alice, PATH) == [401]
    os.kill(stack.process.pid, signal.SIGTERM)  # 3
    stack.process.wait(60)
    file.unlink()
    start(stack, "--accept-revocations")
    assert statuses(stack, alice, PATH) == [200], log_of(stack)
    eventually(lambda: "accepted as found: nobody" in json.dumps(changes(stack, "up")), what="its record")


def _up(stack: Stack) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "meshward", *START, "--state", str(stack.state)]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
