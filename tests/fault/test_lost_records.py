"""A whole instance whose records are taken away and put back: it serves, says what it lacks, and claims nothing."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshward.audit.anchor import SET_BACK
from meshward.audit.keeping import KEEPING, Keeping
from meshward.audit.records import FILE, Records
from tests.fault.test_nothing_left import begin, end_by_down, is_whole, kill, request
from tests.hostile.conftest import write_hostile
from tests.stack.running import Stack, eventually, running


@pytest.fixture(scope="module")
def stack(short_dir: Path) -> Iterator[Stack]:
    with running(short_dir, write_hostile) as started:
        yield started


def recorded(stack: Stack) -> str:
    """A request that was answered 200 and has its whole record; its id."""
    rid = request(stack)
    eventually(lambda: is_whole(stack, rid), what="its record")
    return rid


def losses(stack: Stack) -> list[str]:
    reader = Records(stack.state)
    found = [loss.why for loss in reader.losses()]
    reader.close()
    return found


def missed(stack: Stack, rid: str, sentence: str) -> None:
    """`status` raises an alarm, `trace` says what is true, and requests go on and are recorded."""
    seen = stack.command("status")
    assert seen.returncode == 11 and "RECORDS WERE LOST (MW4009" in seen.stdout, seen
    assert "new records are written" in seen.stdout and sentence in seen.stdout, seen
    assert "records are kept" not in seen.stdout, "those are not"
    told = stack.command("trace", rid)
    assert told.returncode == 11 and f"{rid} is not in the store" in told.stdout, told
    assert sentence in told.stdout and "refused" not in told.stdout, told
    recorded(stack)


def test_a_journal_removed_after_a_kill(stack: Stack) -> None:
    first, rid = recorded(stack), recorded(stack)
    assert "LOST" not in stack.command("status").stdout and losses(stack) == []
    os.kill(stack.processes()["collector"], signal.SIGKILL)  # nothing is put into the file
    kill(stack)
    (stack.state / f"{FILE}-wal").unlink()
    begin(stack)
    missed(stack, rid, "of edge/access.log")
    assert len(losses(stack)) == 1 and stack.command("trace", first).returncode == 11


def test_an_older_store_put_back_while_it_runs(stack: Stack) -> None:
    end_by_down(stack)
    older = (stack.state / FILE).read_bytes()
    begin(stack)
    rid = recorded(stack)
    before, collector = losses(stack), stack.processes()["collector"]
    (stack.state / "older").write_bytes(older)
    (stack.state / "older").rename(stack.state / FILE)
    for name in (f"{FILE}-wal", f"{FILE}-shm"):
        (stack.state / name).unlink()
    eventually(lambda: stack.processes().get("collector", collector) != collector, what="another collector")
    eventually(lambda: len(losses(stack)) == len(before) + 1, what="the loss")
    missed(stack, rid, "the records were put back, or their last part was lost")


def test_everything_of_the_records_taken_away_while_nothing_runs(stack: Stack) -> None:
    """Store and anchor alike: what they held is remembered elsewhere."""
    end_by_down(stack)
    older = {path.name: path.read_bytes() for path in stack.state.glob("records.*")}
    begin(stack)
    rid = recorded(stack)
    end_by_down(stack)
    for path in stack.state.glob("records.*"):
        path.unlink()
    for name, data in older.items():
        (stack.state / name).write_bytes(data)
    begin(stack)
    assert losses(stack)[-1] == SET_BACK
    missed(stack, rid, "what was kept until")
    before = losses(stack)
    end_by_down(stack)
    begin(stack)
    assert losses(stack) == before, "it is noted once"
    os.kill(stack.processes()["collector"], signal.SIGKILL)
    kill(stack)
    for path in stack.state.glob("records*"):
        path.unlink()
    begin(stack)
    assert losses(stack) == [SET_BACK]
    missed(stack, rid, "what was kept until")


def test_what_the_collector_is_told_follows_the_policy(stack: Stack) -> None:
    file = stack.run / "control" / KEEPING.name
    told = KEEPING.read(file.parent)
    assert told and told.once and told == Keeping(183 * 86_400, None, told.once)
    policy = json.loads(stack.policy.read_text())
    policy["audit"] = {"retention": "30d", "max_disk": "1g"}
    stack.policy.write_text(json.dumps(policy))
    done = stack.command("apply", str(stack.policy), "--allow", "widening")
    assert done.returncode == 0, done
    told = KEEPING.read(file.parent)
    assert told and told.once and told == Keeping(30 * 86_400, 1 << 30, told.once)
