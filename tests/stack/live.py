"""Changing the rules of a running instance, the way an accepted change is made live: files, signal, epoch."""

from __future__ import annotations

import json
import os
import signal
from typing import Any

from meshward.kit.durable import write_atomic
from meshward.plan.ir import Plan
from meshward.plan.resolve import resolve
from meshward.policy.parse import Source, parse
from tests.stack.running import Stack, eventually


def change_rules(stack: Stack, text: dict[str, Any]) -> Plan:
    """Make `text`'s grants and denies the running ones, and wait until the decision service says so."""
    policy = parse([Source("changed.yaml", json.dumps(text).encode())]).policy
    plan = resolve(policy)
    file = stack.run / "decide" / "policy.json"
    stat = file.stat()
    write_atomic(
        file, policy.model_dump_json(by_alias=True, exclude_unset=True), stat.st_mode & 0o777, stat.st_gid
    )
    log = stack.state / "logs" / "decide.log"
    before = log.read_text().count(plan.digest)
    os.kill(stack.processes()["decide"], signal.SIGHUP)
    eventually(lambda: log.read_text().count(plan.digest) > before, what="the reload")
    raise_epoch(stack)
    return plan


def raise_epoch(stack: Stack) -> None:
    """End every cached decision."""
    file = stack.run / "edge" / "epoch"
    stat = file.stat()
    write_atomic(file, str(int(file.read_text()) + 1), stat.st_mode & 0o777, stat.st_gid)
