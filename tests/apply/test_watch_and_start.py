"""`up` again, with the same policy, another, or none; and `up --watch`."""

from __future__ import annotations

import copy
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from meshward.apply.revisions import Revisions
from meshward.kit.exits import Exit
from meshward.testing.instance import START
from tests.apply.test_live_changes import statuses, with_grant
from tests.hostile.conftest import write_hostile
from tests.stack.inside import Inside, knock
from tests.stack.live import apply, policy_of
from tests.stack.running import Stack, eventually, running


@pytest.fixture(scope="module")
def stack(short_dir: Path) -> Iterator[Stack]:
    with running(short_dir, write_hostile) as started:
        yield started


def log_of(stack: Stack) -> str:
    return (stack.policy.parent / "up.log").read_text()


def start(stack: Stack, *arguments: str) -> None:
    """Stop the instance and start it with `arguments`."""
    if stack.process.poll() is None:
        stack.process.send_signal(signal.SIGTERM)
        assert stack.process.wait(60) == 0, log_of(stack)
    with (stack.policy.parent / "up.log").open("w") as output:
        stack.process = subprocess.Popen(
            [sys.executable, "-m", "meshward", *START, *arguments, "--state", str(stack.state)],
            stdout=output, stderr=output, text=True, start_new_session=True,
        )  # fmt: skip
    eventually(lambda: "ready:" in log_of(stack), what="the start")


def test_a_start_runs_what_was_accepted_last_or_says_what_it_replaces(stack: Stack) -> None:
    text: dict[str, Any] = json.loads(stack.policy.read_text())
    bob = stack.issuer.token("bob", ["sales"])
    assert stack.instance.revision == 1
    apply(stack, policy_of(with_grant(text, "sales", ["infer"])), reason="for sales")

    start(stack)
    assert stack.instance.revision == 2 and statuses(stack, bob, "/m/m1/v1/public") == [200]

    start(stack, str(stack.policy))
    assert "another than revision 2 (for sales, by " in log_of(stack), log_of(stack)
    assert stack.instance.revision == 3 and statuses(stack, bob, "/m/m1/v1/public") == [403]

    start(stack, str(stack.policy))
    assert stack.instance.revision == 3 and "another than" not in log_of(stack), (
        "the same policy is the same revision"
    )
    assert [each.number for each in Revisions(stack.state).all()] == [1, 2, 3]


def test_a_revoked_subject_stays_out_over_a_start_and_at_the_guards(stack: Stack) -> None:
    inside, guard, root = Inside(stack), stack.guard("m1"), str(stack.state / "root.pem")

    def at_the_guard(subject: str) -> int:
        txn = inside.txn("m1.infer", subject=subject)
        reply = knock(guard, root, "GET", "/v1/public", svid=inside.svid(), txn=txn)
        return reply.status if reply else 0

    def revoke(*more: str) -> None:
        command = [
            sys.executable,
            "-m",
            "meshward",
            "revoke",
            "--subject",
            "test:alice",
            "--state",
            str(stack.state),
        ]
        assert subprocess.run([*command, *more], check=False, timeout=60).returncode == 0

    alice = stack.issuer.token("alice", ["users"])
    assert at_the_guard("test:alice") == 200
    revoke()
    assert [at_the_guard(f"test:{name}") for name in ("alice", "alicea", "bob")] == [403, 200, 200]
    start(stack)
    assert at_the_guard("test:alice") == 403 and statuses(stack, alice, "/m/m1/v1/public") == [401]
    revoke("--until", "2020-01-01 00:00")
    assert at_the_guard("test:alice") == 200 and statuses(stack, alice, "/m/m1/v1/public") == [200]


def test_a_watched_policy_is_applied_when_it_changes(stack: Stack) -> None:
    text: dict[str, Any] = json.loads(stack.policy.read_text())
    start(stack, str(stack.policy), "--watch")
    bob = stack.issuer.token("bob", ["sales"])

    def write(policy: str) -> None:
        beside = stack.policy.with_suffix(".new")
        beside.write_text(policy)
        beside.rename(stack.policy)

    def reached(status: int) -> None:
        eventually(
            lambda: statuses(stack, bob, "/m/m1/v1/public") == [status], what=f"{status}\n{log_of(stack)}"
        )

    write(json.dumps(with_grant(text, "sales", ["infer"])))
    reached(200)
    write("version: 1\nmodels: [")
    eventually(lambda: "is not applied; revision" in log_of(stack), what="the complaint")
    assert statuses(stack, bob, "/m/m1/v1/public") == [200]
    wider = copy.deepcopy(text)
    wider["grants"][0]["actions"].append("manage")
    write(json.dumps(wider))
    eventually(lambda: "this widens access" in log_of(stack), what="the refusal")
    write(json.dumps(text))
    reached(403)
    last = Revisions(stack.state).current()
    assert last is not None and "changed" in last.reason


def test_a_damaged_record_stops_a_start(stack: Stack) -> None:
    """Last in this module."""
    stack.process.send_signal(signal.SIGTERM)
    assert stack.process.wait(60) == 0
    last = max((stack.state / "revisions").glob("[0-9]*[0-9].json"))
    last.write_bytes(b"\0" * last.stat().st_size)
    done = subprocess.run(
        [sys.executable, "-m", "meshward", *START, "--state", str(stack.state)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode != 0 and "damaged" in done.stderr and str(last.name) in done.stderr, done
    assert done.returncode in (Exit.FAULT, Exit.USAGE) and last.exists()
