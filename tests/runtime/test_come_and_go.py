"""Parts that come and go while the others run."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from meshward.runtime.supervise.report import load_report
from meshward.testing.waiting import eventually
from tests.runtime.children import shell, sleeper, teller
from tests.runtime.conftest import Start, alive, numbers


def test_an_added_part_is_kept_running_and_stops_after_those_that_need_it(
    start: Start, tmp_path: Path
) -> None:
    added = {"add": teller("guard", tmp_path, 0), "needed_by": ["edge"]}
    run = start(teller("edge", tmp_path, 0.5), later=[added]).until_ready()
    eventually(lambda: "ADDED guard" in run.lines, what="the part")
    os.kill(run.report("guard").pid, signal.SIGKILL)
    run.until_restarted("guard")  # its file `ready` is there already: it may know no signal yet
    eventually(lambda: (tmp_path / "events").read_text().count("start guard") == 2, what="its second start")

    assert run.stop() == 0

    events = (tmp_path / "events").read_text().splitlines()
    assert events == ["start edge", "start guard", "start guard", "stop edge", "stop guard"]


def test_a_removed_part_is_gone_and_the_others_never_notice(start: Start, tmp_path: Path) -> None:
    first = sleeper("first", tmp_path)
    run = start(
        first, sleeper("second", tmp_path, depends_on=["first"]), later=[{"remove": "first"}]
    ).until_ready()
    eventually(lambda: "REMOVED first" in run.lines, what="the removal")
    (gone,), (stays,) = numbers(tmp_path / "first.pids"), numbers(tmp_path / "second.pids")
    assert not alive(gone) and alive(stays)
    report = load_report(run.state)
    assert report is not None and [part.name for part in report.parts] == ["second"]
    assert run.process.poll() is None

    assert run.stop() == 0


def test_a_part_that_cannot_be_added_leaves_no_trace(start: Start, tmp_path: Path) -> None:
    broken = shell("guard", "echo $$ >> guard.pids; exit 7", tmp_path)
    later = [{"add": broken}, {"add": sleeper("guard", tmp_path)}, {"remove": "nobody"}]
    run = start(sleeper("edge", tmp_path), later=later).until_ready()
    eventually(lambda: "REMOVED nobody" in run.lines, what="all steps")

    assert [line for line in run.lines if line.startswith(("FAILED", "ADDED"))] == [
        "FAILED guard MW3007",
        "ADDED guard",
    ]
    assert len(numbers(tmp_path / "edge.pids")) == 1
    assert run.stop() == 0
    assert not any(alive(pid) for pid in numbers(tmp_path / "guard.pids"))


def test_a_stop_while_a_part_is_being_added_stops_it_too(start: Start, tmp_path: Path) -> None:
    slow = shell("slow", "echo $$ >> slow.pids; exec sleep 1000", tmp_path)
    run = start(sleeper("edge", tmp_path), later=[{"add": slow}]).until_ready()
    (pid,) = eventually(lambda: numbers(tmp_path / "slow.pids"), what="its process")

    assert run.stop() == 0

    assert not alive(pid)
