"""Invariant 8 against a hop that is broken into: what its user can do in its own directory costs its own model alone.

The hop's user is played by a shell that runs as that user, in the directory that is its own.
"""

from __future__ import annotations

import json
import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshward.kit.foreign import MOST_NAMES
from meshward.runtime.supervise.report import Phase
from tests.hostile.conftest import write_hostile
from tests.stack import hasty
from tests.stack.live import change_rules
from tests.stack.running import Stack, eventually, running

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="not root: every part has our uid")
WELL, EVIL = "/m/m1/v1/public", "/m/m2/v1/public"
CODE = "MW3080"


@pytest.fixture(scope="module")
def stack(short_dir: Path) -> Iterator[Stack]:
    with running(short_dir, write_hostile, hasty.__name__) as started:
        yield started


@pytest.fixture
def bob(stack: Stack) -> str:
    return stack.issuer.token("bob", ["users"])


def own_directory(stack: Stack) -> Path:
    """Of the guard of m2."""
    return stack.run / "guards" / stack.guard("m2").slot


def guards_uid(stack: Stack) -> int:
    return next(part.uid for part in stack.status().parts if part.name.endswith("m2-v1"))


def phase_of_guard(stack: Stack) -> Phase:
    return next(part.phase for part in stack.status().parts if part.name.endswith("m2-v1"))


def is_roots_alone(directory: Path) -> bool:
    about = directory.stat()
    return about.st_uid == 0 and stat.S_IMODE(about.st_mode) == 0o700


def changes_of_guard(stack: Stack) -> set[str]:
    told = json.loads(stack.command("history", "--changes", "--json").stdout)["changes"]
    return {change["did"] for change in told if change["facts"].get("hop", "").endswith("m2-v1")}


def by_guard(stack: Stack, script: str) -> subprocess.CompletedProcess[str]:
    """What the guard's user does in its own directory."""
    uid = guards_uid(stack)
    where = {"RUN": str(stack.run), "STATE": str(stack.state), "OWN": str(own_directory(stack))}
    return subprocess.run(
        ["/bin/sh", "-c", f"cd $OWN; {script}"],
        **{"user": uid, "group": uid, "extra_groups": []},
        env=where,
        text=True,
        capture_output=True,
        check=False,
    )


def apply_again(stack: Stack) -> None:
    """The policy that runs, or ran before."""
    change_rules(stack, json.loads(stack.policy.read_text()))


def status_of(stack: Stack, path: str, token: str) -> int:
    return stack.call("GET", path, token).status


ODD = {
    "a dangling link beside its log": "ln -s /nowhere access.log.1",
    "its log is a link to STATE": "rm access.log; ln -s $STATE/revocations.json access.log",
    "its log is endless": "rm access.log; ln -s /dev/zero access.log",
    "its log is a pipe": "rm access.log; mkfifo access.log",
    "its log is a directory": "rm access.log; mkdir -p access.log/a/b",
    "its log has a second name": "ln access.log elsewhere",
    "its admin socket is a link": "rm admin.sock; ln -s $RUN/control/control.sock admin.sock",
    "its admin socket is a pipe": "rm admin.sock; mkfifo admin.sock",
    "a directory of ours by another name": "ln -s $STATE xds",
    "a file that nobody knows": ": > anything",
    "very many names": f"n=0; while [ $n -le {MOST_NAMES} ]; do : > x$n; n=$((n+1)); done",
}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_it_costs_that_guard_alone_until_it_is_let_back(stack: Stack, bob: str, odd: str) -> None:
    before = stack.processes()
    assert status_of(stack, EVIL, bob) == 200
    by_guard(stack, odd)
    eventually(lambda: stack.status().shut, what="the quarantine")
    (told,) = stack.status().shut
    assert CODE in told and "the guard of m2/v1" in told and "meshward apply" in told
    assert not stack.status().healthy
    eventually(lambda: phase_of_guard(stack) is Phase.QUARANTINED, what="the end of its process")
    assert is_roots_alone(own_directory(stack))
    assert status_of(stack, EVIL, bob) in (502, 503)
    assert status_of(stack, WELL, bob) == 200
    eventually(lambda: (kept := stack.status().records) and kept.fresh, what="a proof of the records")
    done = stack.command("apply", str(stack.policy), "--allow", "widening")
    assert done.returncode == 0 and "the guard of m2/v1 is let back in" in done.stderr, done
    eventually(lambda: status_of(stack, EVIL, bob) == 200, what="its open door")
    assert not stack.status().shut
    after = stack.processes()
    others = before.keys() - {name for name in before if name.endswith("m2-v1")}
    assert {name: after[name] for name in others} == {name: before[name] for name in others}


def test_it_is_written_down(stack: Stack) -> None:
    """Who was shut away, and which change let it back."""
    eventually(lambda: {"quarantine", "apply"} <= changes_of_guard(stack), what="the records")


def test_all_that_a_guard_makes_itself_belongs_there(stack: Stack) -> None:
    assert sorted(path.name for path in own_directory(stack).iterdir()) == [
        "access.log",
        "admin.sock",
        "guard.sock",
    ]
    assert sorted(path.name for path in (stack.run / "decide").iterdir()) == ["decide.sock"]


def test_what_it_left_running_ends_with_it(stack: Stack, bob: str) -> None:
    """A process that left the guard's group, and holds nothing of ours."""
    uid = guards_uid(stack)
    by_guard(stack, "setsid sleep 1000 >/dev/null 2>&1 </dev/null & ")
    eventually(lambda: _of(uid, "sleep"), what="it")  # the shell may end before its child is `sleep`
    by_guard(stack, "ln -s /nowhere access.log.1")
    eventually(lambda: not _of(uid, "sleep"), what="the end of it")
    apply_again(stack)
    eventually(lambda: status_of(stack, EVIL, bob) == 200, what="its open door")


def test_what_it_is_given_lies_where_it_can_change_nothing(stack: Stack) -> None:
    """Nor what leads there; and it reads nobody else's."""
    slot, other = stack.guard("m2").slot, stack.guard("m1").slot
    given = f"$RUN/given/guards/{slot}"
    for attempt in (
        f"rm {given}/xds/svid.json",
        f": > {given}/xds/x.json",
        f"mv {given}/xds $OWN/xds",
        f"mv {given} $RUN/given/guards/99",
        f"ln -s $STATE {given}/more",
        f"chmod 777 {given}",
        f"cat $RUN/given/guards/{other}/xds/svid.json",
        "cat $RUN/given/decide/keys/*",
        "ls $RUN/given/edge/certs",
        "mv $OWN $RUN/guards/99",
        f"ln -s $STATE $RUN/guards/{slot}x",
    ):
        assert by_guard(stack, attempt).returncode != 0, attempt
    assert by_guard(stack, f"cat {given}/xds/svid.json > /dev/null").returncode == 0


def test_while_it_is_shut_away_all_else_goes_on(stack: Stack, bob: str) -> None:
    """Revocations, rotations, renewals, an apply that removes its model: nothing of ours is touched by what it left."""
    alice = stack.issuer.token("alice", ["users"])
    assert status_of(stack, WELL, alice) == 200, "alice is known here"
    assert stack.command("revoke", "--subject", "test:alice").returncode == 0
    kept = sorted(path.name for path in stack.state.glob("*.json"))
    revoked = (stack.state / "revocations.json").read_bytes()
    by_guard(
        stack,
        "ln -s $STATE xds; ln -s /nowhere access.log.1; mv admin.sock x; ln -s $STATE/control.sock admin.sock",
    )
    eventually(lambda: stack.status().shut, what="the quarantine")
    for what in ("svids", "signing-key", "ca"):
        done = stack.command("rotate", what)
        assert done.returncode == 0, (what, done)
    whole = json.loads(stack.policy.read_text())
    change_rules(stack, whole | {"models": {"m1": whole["models"]["m1"]}})
    eventually(lambda: len(stack.status().guards) == 1, what="the end of m2")
    assert status_of(stack, WELL, bob) == 200 and status_of(stack, WELL, alice) == 401
    assert sorted(path.name for path in stack.state.glob("*.json")) == kept
    assert (stack.state / "revocations.json").read_bytes() == revoked
    apply_again(stack)
    eventually(lambda: status_of(stack, EVIL, bob) == 200, what="m2 again")


def test_a_start_finds_everything_wrong_and_makes_it_anew(stack: Stack, bob: str) -> None:
    """The last test: SIGTERM ends the supervisor whatever a guard did, and the next one is not kept from starting."""
    by_guard(stack, "rm -f access.log; mkfifo access.log; rm -f admin.sock guard.sock; mkdir -p guard.sock/a")
    stack.process.terminate()
    assert stack.process.wait(60) == 0
    for theirs in ("edge", "guards/00", "given/guards/00/xds", "given/edge", "given/decide/keys"):
        (stack.run / theirs).mkdir(parents=True)  # the end of an instance leaves nothing of them
    for theirs in (stack.run, *stack.run.rglob("*")):
        if theirs.is_dir() and theirs != stack.run:
            os.chown(theirs, 12345, 12345)
    (stack.run / "edge").rename(stack.run / "x")
    (stack.run / "edge").symlink_to(stack.state)
    stack.process = stack._start()
    eventually(stack._is_ready, what="the instance")
    assert status_of(stack, WELL, bob) == status_of(stack, EVIL, bob) == 200
    assert (stack.state / "records.sqlite").exists() and not stack.status().shut


def _of(uid: int, command: str) -> list[int]:
    """Those that run: one that has ended and nobody reaped does not."""
    found = subprocess.run(
        ["ps", "-o", "pid=,stat=,comm=", "-u", str(uid)], capture_output=True, text=True, check=False
    )
    rows = [line.split() for line in found.stdout.splitlines()]
    return [int(pid) for pid, state, name, *_ in rows if name == command and not state.startswith("Z")]
