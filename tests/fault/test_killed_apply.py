"""kill -9 anywhere in an apply: what comes back is one whole revision at both hops, the old one or the new one."""

from __future__ import annotations

import copy
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from meshward.apply.revisions import ACCEPTED, INTERRUPTED, REFUSED, STAGED, Revisions
from meshward.kit.errors import MeshwardError
from meshward.plan.resolve import resolve
from meshward.policy.schema import Policy
from meshward.testing.instance import START
from meshward.testing.recorder import Recorder
from tests.hostile.conftest import write_hostile
from tests.stack.inside import Inside, knock
from tests.stack.live import apply, policy_of
from tests.stack.running import Stack, eventually, running

SWITCH = 0.3  # seconds; a guard starts in them
LATE = 1.6  # of an apply's own time: some kills come when it is done
TIMES, LONG = 12, 200


@pytest.fixture(scope="module")
def stack(short_dir: Path) -> Iterator[Stack]:
    with running(short_dir, write_hostile) as started:
        yield started


def other(text: dict[str, Any], socket: Path) -> dict[str, Any]:
    """Alice loses, bob gains, a route moves at the guards, and there is one more model."""
    changed = copy.deepcopy(text)
    changed["roles"]["user"] = [{"issuer": "test", "group": "sales"}]
    changed["servers"]["twofaced"] = {
        "infer": ["GET /v1/moved"],
        "manage": ["GET /v1/public", "GET /v1/secret"],
    }
    changed["models"]["m3"] = {"versions": {"v1": {"server": "twofaced", "url": f"unix:{socket}"}}}
    return changed


def seen(stack: Stack) -> dict[str, int]:
    """What both hops answer to those whom the two policies tell apart."""
    alice, bob = stack.issuer.token("alice", ["users"]), stack.issuer.token("bob", ["sales"])
    inside = Inside(stack)
    answers = {
        "alice": stack.call("GET", "/m/m1/v1/public", alice).status,
        "bob": stack.call("GET", "/m/m1/v1/moved", bob).status,
        "new": stack.call("GET", "/m/m3/v1/moved", bob).status,
    }
    root = str(stack.state / "root.pem")
    for route in ("public", "moved"):
        guard, txn = stack.guard("m1"), inside.txn("m1.infer")
        reply = knock(guard, root, "GET", f"/v1/{route}", svid=inside.svid(), txn=txn)
        answers[f"guard {route}"] = reply.status if reply else 0
    return answers


OLD = {"alice": 200, "bob": 404, "new": 404, "guard public": 200, "guard moved": 403}
NEW = {"alice": 403, "bob": 200, "new": 200, "guard public": 403, "guard moved": 200}


def start_again(stack: Stack) -> None:
    log = stack.policy.parent / "up.log"
    with log.open("w") as output:
        stack.process = subprocess.Popen(
            [sys.executable, "-m", "meshward", *START, "--state", str(stack.state)],
            stdout=output, stderr=output, text=True, start_new_session=True,
        )  # fmt: skip

    def ready() -> bool:
        if stack.process.poll() is not None:
            raise AssertionError(log.read_text())
        return "ready:" in log.read_text()

    eventually(ready, what="the start after a kill")


def test_it_comes_back_on_one_whole_revision(stack: Stack, request: pytest.FixtureRequest) -> None:
    server = Recorder(stack.policy.parent / "3.sock")
    first = json.loads(stack.policy.read_text())
    policies = {name: policy_of(text) for name, text in (("old", first), ("new", other(first, server.path)))}
    digests = {resolve(policy).digest: name for name, policy in policies.items()}
    revisions, runs, came = Revisions(stack.state), "old", {"old": 0, "new": 0}
    window = LATE * max(_seconds(stack, policies[name]) for name in ("new", "old"))
    times = LONG if request.config.getoption("--long") else TIMES
    chance, interrupted = random.Random(6), 0
    for turn in range(times):
        aims = "new" if runs == "old" else "old"
        wish = threading.Thread(target=_try, args=(stack, policies[aims]), daemon=True)
        wish.start()
        if turn % 2:  # while it switches: behind its record, before it is accepted
            eventually(
                lambda w=wish: not w.is_alive() or revisions.all()[-1].status == STAGED, what="the record"
            )
            wish.join(chance.uniform(0, SWITCH) if turn > 1 else 0)
        elif turn < times - 2:  # the first is killed at once
            wish.join((turn + chance.random()) / times * window if turn else 0)
        else:  # the last is done: both ends are met, however fast the machine is
            wish.join(60)
        os.kill(stack.process.pid, signal.SIGKILL)
        stack.process.wait(60)
        wish.join(60)
        start_again(stack)
        current = revisions.current()
        assert current is not None and current.number == stack.instance.revision
        runs = digests[current.digest]
        assert seen(stack) == (OLD if runs == "old" else NEW), runs
        last = revisions.all()[-1]
        assert last.status in (ACCEPTED, REFUSED), "nothing stays half done"
        interrupted += last.why == INTERRUPTED
        came["new" if runs == aims else "old"] += 1
    assert min(came.values()) > 0 and interrupted > 0, f"the kills missed the apply: {came}, {interrupted}"
    server.close()


def _seconds(stack: Stack, policy: Policy) -> float:
    began = time.monotonic()
    apply(stack, policy, allow=["widening"])
    return time.monotonic() - began


def _try(stack: Stack, policy: Policy) -> None:
    with suppress(MeshwardError, OSError):
        apply(stack, policy, allow=["widening"])
