"""Files that are broken, half written or locked, under load: what runs goes on (K03, K20, K25, K26)."""

from __future__ import annotations

import json
import os
import resource
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from bench.busy import Busy

from meshward.apply.revisions import Revisions
from meshward.apply.sources import read_policy
from meshward.audit.records import FILE as RECORDS
from meshward.kit.errors import MeshwardError
from meshward.kit.exits import Exit
from meshward.policy.tree import MOST_BYTES as MOST_READ
from tests.cost import bytes_read, cost
from tests.fault.conftest import Watch
from tests.stack.running import eventually

MOST_BYTES = 200_000_000


def corrupt(kind: str, good: bytes) -> bytes:
    """A policy that a broken disk, editor or attacker leaves."""
    bomb = "x0: &x0 [a, a, a, a, a, a, a, a, a]\n" + "".join(
        f"x{n}: &x{n} [{', '.join([f'*x{n - 1}'] * 9)}]\n" for n in range(1, 12)
    )
    return {
        "truncated": good[: len(good) // 2],
        "empty": b"",
        "a flipped bit": good.replace(b'"roles"', b'"rolfs"', 1),
        "a NUL": good[:300] + b"\0" + good[300:],
        "another coding": good.decode().encode("utf-16"),
        "not UTF-8": good[:-2] + b'\xff\xfe"}',
        "a key twice": good.replace(b'"version": 1,', b'"version": 1, "version": 1,', 1),
        "an alias bomb": bomb.encode(),
        "deep": b"[" * 100_000,
        "50 MB": b"# " + b"x" * 50_000_000 + b"\n" + good,
    }[kind]


KINDS = (
    *("truncated", "empty", "a flipped bit", "a NUL", "another coding", "not UTF-8", "a key twice"),
    *("an alias bomb", "deep", "50 MB"),
)


@pytest.mark.parametrize("kind", KINDS)
def test_a_corrupt_policy_costs_nothing(work: Busy, watch: Watch, tmp_path: Path, kind: str) -> None:
    file = tmp_path / "policy.yaml"
    file.write_bytes(corrupt(kind, json.dumps(work.text).encode()))
    before = Revisions(work.state).current()
    argv = [sys.executable, "-m", "meshward", "apply", str(file), "--state", str(work.state)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False, preexec_fn=_bounded)
    assert done.returncode == Exit.USAGE, done
    assert str(file) in done.stderr and "Traceback" not in done.stderr and len(done.stderr) < 20_000
    assert Revisions(work.state).current() == before
    assert watch.seen()["failed"] == 0
    refused(file)  # what is done a first time only: imports, patterns
    assert bytes_read(lambda: refused(file)) <= MOST_READ + 64 * 1024
    assert cost(lambda: refused(file)) <= 50 * min(file.stat().st_size, MOST_READ) + 5_000


def refused(file: Path) -> None:
    with pytest.raises(MeshwardError):
        read_policy(file)


def _bounded() -> None:
    """Heap beyond which it would fail with a MemoryError, which is no exit 2."""
    resource.setrlimit(resource.RLIMIT_DATA, (MOST_BYTES, MOST_BYTES))


@pytest.mark.parametrize("way", ["in place", "by rename"])
def test_half_a_file_of_a_guard_changes_nothing(work: Busy, watch: Watch, way: str) -> None:
    """`apply` does neither; who does it to us meets the old rules, and the next apply mends the file."""
    slot = next(path.parent.parent for path in _rules(work) if b"m01" in path.read_bytes())
    file = slot / "xds" / "rds.json"
    whole, stat = file.read_bytes(), file.stat()
    if way == "in place":
        file.write_bytes(whole[: len(whole) // 2])
    else:
        half = file.with_suffix(".half")
        half.write_bytes(whole[: len(whole) // 2])
        os.chown(half, stat.st_uid, stat.st_gid)
        half.chmod(stat.st_mode & 0o777)
        half.rename(file)
    watch.well()
    assert work.status("alice", "users", "m01") == 200 and work.status("eve", "nobody", "m01") == 403
    changed = json.loads(json.dumps(work.text))
    changed["servers"]["mock"]["infer"].append("GET /mended")
    work.apply(changed)
    assert json.loads(file.read_bytes())["resources"], "the file is whole again"
    work.apply(work.text)
    assert watch.seen()["failed"] == 0


def _rules(work: Busy) -> list[Path]:
    run = Path(json.loads((work.state / "instance.json").read_text())["run"])
    return sorted((run / "given" / "guards").glob("*/xds/rds.json"))


def test_a_locked_store_is_waited_for_and_then_closes_the_gateway(work: Busy, watch: Watch) -> None:
    """A moment is nothing to anybody; past `max_blind` nobody is served whose record could not be kept."""
    with locked(work.state / RECORDS):
        seen = watch.next(100)
        assert seen["failed"] == 0, seen["why"]
    watch.well()
    with locked(work.state / RECORDS):
        assert work.status("alice", "users", "m01") == 200, "not at once"
        eventually(lambda: work.status("alice", "users", "m01") == 503, what="a refusal")
    watch.well()
    assert watch.seen()["cut"] == 0, "streams that run go on"


@contextmanager
def locked(store: Path) -> Iterator[None]:
    """Somebody looks into the store with a tool that takes it all."""
    with closing(sqlite3.connect(store, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        try:
            yield
        finally:
            other.execute("ROLLBACK")


def test_a_corrupt_store_stops_the_next_start_with_a_remedy(work: Busy, tmp_path: Path) -> None:
    """A state of its own: a start that finds noise in its records says so, and overwrites nothing."""
    state = tmp_path / "s"
    state.mkdir(0o700)
    noise = os.urandom(8192)
    (state / RECORDS).write_bytes(b"SQLite format 3\0" + noise)
    argv = [sys.executable, "-m", "meshward.audit", "--run", str(tmp_path), "--state", str(state)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0 and "MW4001" in done.stderr + done.stdout, done
    assert (state / RECORDS).read_bytes()[16:] == noise, "what was there is evidence"
