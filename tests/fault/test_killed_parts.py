"""A part is killed under load: who feels it, for how long, and that no record is lost (K05, K07, K08, K10)."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

from bench.busy import Busy
from bench.load import once
from bench.processes import descendants, title

from bench import requests
from meshward.audit.places import HEARTBEAT
from meshward.audit.records import Records
from meshward.audit.store import Store
from tests.fault.conftest import Watch, of
from tests.stack.running import eventually

SOON = 100  # requests of the load: what it sees of a fault


def kill(work: Busy, part: str) -> None:
    """SIGKILL, and wait until there is another process in its place."""
    before = work.pid(part)
    assert before > 1, f"{part} does not run"
    os.kill(before, signal.SIGKILL)
    eventually(lambda: work.pid(part) not in (0, before), what=f"another {part}")


def felt(work: Busy, watch: Watch) -> dict[str, Any] | None:
    """What the load sees of a killed guard; None where another one was there before any request."""
    seen = watch.during(lambda: kill(work, "-m01-"), SOON)
    assert of(seen, "m00") == of(seen, "m02") == {}, seen["why"]
    return seen if of(seen, "m01") else None


def test_a_guard_is_felt_at_its_own_model_alone(work: Busy, watch: Watch) -> None:
    seen = eventually(lambda: felt(work, watch), what="a request between one guard and the next")
    assert seen
    felt_as = of(seen, "m01")
    assert {why.split()[0] for why in felt_as if not why.startswith("stream")} <= {"502", "503"}, felt_as
    watch.well()


def test_an_nginx_worker_is_another_a_moment_later(work: Busy, watch: Watch) -> None:
    master = work.pid("edge")
    workers = {pid for pid in descendants(master) if title(pid) == "nginx: worker process"}
    victim = max(workers)
    os.kill(victim, signal.SIGKILL)

    def replaced() -> bool:
        now = {pid for pid in descendants(master) if title(pid) == "nginx: worker process"}
        return victim not in now and len(now) == len(workers)

    eventually(replaced, what="another worker")
    assert work.pid("edge") == master, "the master has nothing to do with it"
    watch.well()


def test_nginx_is_back_by_itself(work: Busy, watch: Watch) -> None:
    kill(work, "edge")
    watch.well()


def test_a_decision_service_is_missed_by_new_callers_only(work: Busy, watch: Watch) -> None:
    """K10: what was decided holds for its few seconds; what was not is refused, and nobody is let in for it."""
    seen = watch.during(lambda: kill(work, "decide"), SOON)
    assert {why.split()[0] for why in seen["why"]} <= {"503"}, seen["why"]
    assert seen["cut"] == 0, "no stream needs a decision to go on"
    answers: list[int] = []

    def is_decided() -> bool:
        answers.append(work.status("eve", "nobody", "m01"))
        return answers[-1] != 503

    eventually(is_decided, what="a decision")
    assert answers[-1] == 403 and set(answers[:-1]) <= {503}, answers
    watch.well()


def test_a_collector_killed_again_and_again_keeps_each_record_once(work: Busy, watch: Watch) -> None:
    watch.seen()
    for _ in range(4):
        kill(work, "collector")  # its pauses grow
        _beats(work)  # else a slow machine is without records for so long that requests are refused
    first = time.time()
    assert watch.seen()["failed"] == 0, "no request waits for the collector"
    ids = [_request_id(work, number) for number in range(10)]
    kill(work, "collector")
    records = Store.read_only(work.state)
    try:
        for rid in ids:
            eventually(lambda r=rid: _whole(records, r), what="the record")  # type: ignore[misc]
        gaps = [gap for gap in records.gaps(first - 30) if gap.reason not in ("log_gone",)]
        assert gaps == [], gaps
    finally:
        records.close()


def _beats(work: Busy) -> None:
    """Wait until the collector has written another proof that it keeps records."""
    proof = Path(json.loads((work.state / "instance.json").read_text())["run"]) / HEARTBEAT
    before = proof.stat().st_mtime_ns
    eventually(lambda: proof.stat().st_mtime_ns != before, what="a proof of the collector")


def _request_id(work: Busy, number: int) -> str:
    token = work.issuer.token(f"kept{number}", ["users"])
    request = requests.post("/m/m01/embed", requests.prompt(), {"Authorization": f"Bearer {token}"})
    _, answer = once(work.port, request)
    head = answer.partition(b"\r\n\r\n")[0].decode().lower()
    return next(line.split(": ")[1] for line in head.splitlines() if line.startswith("x-request-id"))


def _whole(records: Records, rid: str) -> bool:
    found = records.records(rid)
    assert len(found) <= 1, "a record twice"
    return bool(found) and found[0].agrees and not found[0].waiting and found[0].missing is None


def test_nothing_that_was_killed_left_a_core(work: Busy) -> None:
    """A core holds tokens and prompts."""
    places = [work.directory, Path(work.state)]
    assert [file for place in places for file in place.rglob("core*") if file.is_file()] == []
