from __future__ import annotations

import json
import os
import signal
import stat
from itertools import pairwise
from pathlib import Path

import pytest

from meshward.kit.exits import Exit
from meshward.runtime.place.directories import open_state
from meshward.runtime.supervise.leftovers import leftovers
from meshward.runtime.supervise.part import LONGEST_PAUSE, pause_after
from meshward.runtime.supervise.report import Phase
from meshward.testing.waiting import eventually
from tests.runtime.children import master, shell, sleeper, teller
from tests.runtime.conftest import Start, alive, numbers


def test_pauses_grow_from_a_tenth_to_ten_seconds():
    assert [pause_after(deaths) for deaths in (1, 2, 3, 7)] == pytest.approx([0.1, 0.2, 0.4, 6.4])
    assert pause_after(8) == pause_after(10_000) == LONGEST_PAUSE


def test_parts_start_in_the_order_of_their_needs_and_stop_the_other_way_round(start: Start, tmp_path: Path):
    run = start(
        teller("last", tmp_path, 0.5, depends_on=["middle"]),
        teller("middle", tmp_path, 0.2, depends_on=["first"]),
        teller("first", tmp_path, 0),
    ).until_ready()

    assert run.stop() == 0

    order = ["start first", "start middle", "start last", "stop last", "stop middle", "stop first"]
    assert (tmp_path / "events").read_text().splitlines() == order


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_nothing_is_left_after_a_stop(start: Start, tmp_path: Path, number: signal.Signals):
    run = start(sleeper("one", tmp_path), master("tree", tmp_path)).until_ready()
    pids = [
        *numbers(tmp_path / "one.pids"),
        *numbers(tmp_path / "tree.pids"),
        *numbers(tmp_path / "tree.workers"),
    ]
    assert len(pids) == 3 and all(alive(pid) for pid in pids)

    assert run.stop(number) == 0

    assert not [pid for pid in pids if alive(pid)]
    assert run.report("one").phase is Phase.STOPPED
    assert run.report("one").pid is None


def test_nothing_is_left_after_kill_9_of_the_supervisor(start: Start, tmp_path: Path):
    sealed = ["unshare", "--map-root-user", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
    run = start(
        sleeper("one", tmp_path),
        master("tree", tmp_path, death_signal=signal.SIGTERM),
        {"name": "sealed", "argv": [*sealed, "sh", "-c", "sleep 1000 & sleep 1000"]},
    ).until_ready()
    group = run.report("sealed").pid
    eventually(lambda: len(members(group)) == 4, what="unshare, sh and two sleeps")
    pids = [
        *numbers(tmp_path / "one.pids"),
        *numbers(tmp_path / "tree.pids"),
        *numbers(tmp_path / "tree.workers"),
    ]

    assert run.stop(signal.SIGKILL) == -signal.SIGKILL

    eventually(lambda: not [pid for pid in pids if alive(pid)] and not members(group), what="all dead")
    eventually(lambda: not leftovers(run.state), what="no leftovers")


def test_what_a_killed_supervisor_left_is_ended_by_the_next_start(start: Start, tmp_path: Path):
    # A master that got SIGKILL cannot end its worker: the kernel's death signal is not enough here.
    run = start(master("tree", tmp_path, death_signal=signal.SIGKILL)).until_ready()
    (worker,) = numbers(tmp_path / "tree.workers")
    run.stop(signal.SIGKILL)
    eventually(lambda: not alive(numbers(tmp_path / "tree.pids")[0]), what="master dead")
    assert alive(worker)
    assert [left.pid for left in leftovers(run.state)] == [worker]

    start(sleeper("other", tmp_path)).until_ready()

    assert not alive(worker)


def test_a_killed_part_is_back_within_two_seconds_and_the_others_never_notice(start: Start, tmp_path: Path):
    run = start(sleeper("dies", tmp_path), sleeper("lives", tmp_path)).until_ready()
    (first,) = numbers(tmp_path / "dies.pids")

    os.kill(first, signal.SIGKILL)
    eventually(lambda: len(numbers(tmp_path / "dies.pids")) == 2, what="restart")

    part = run.until_restarted("dies")
    assert part.last_exit == "was killed by SIGKILL"
    assert part.pid == numbers(tmp_path / "dies.pids")[1]
    assert len(numbers(tmp_path / "lives.pids")) == 1
    assert run.report("lives").restarts == 0


def test_a_part_that_keeps_dying_is_started_again_with_growing_pauses(start: Start, tmp_path: Path):
    loop = "date +%s%N >> times; [ -e broken ] && exit 7; touch broken loop.ready; exec sleep 1000"
    run = start(shell("loop", loop, tmp_path)).until_ready()
    os.kill(run.report("loop").pid, signal.SIGKILL)

    times = eventually(
        lambda: numbers(tmp_path / "times")[4:] and numbers(tmp_path / "times"), what="five starts"
    )

    gaps = [(later - earlier) / 1e9 for earlier, later in pairwise(times[1:])]
    assert [gap >= least for gap, least in zip(gaps, (0.2, 0.4, 0.8), strict=False)] == [True] * 3, gaps
    assert run.report("loop").last_exit == "exited with code 7"


def test_the_workers_of_a_killed_master_are_gone_before_it_starts_again(start: Start, tmp_path: Path):
    run = start(master("tree", tmp_path)).until_ready()
    (worker,) = numbers(tmp_path / "tree.workers")

    os.kill(numbers(tmp_path / "tree.pids")[0], signal.SIGKILL)
    eventually(lambda: len(numbers(tmp_path / "tree.pids")) == 2, what="restart")

    assert not alive(worker)
    run.until_restarted("tree")


def test_a_part_that_ignores_its_stop_signal_is_killed_after_the_grace(start: Start, tmp_path: Path):
    deaf = shell("deaf", "trap '' TERM; echo $$ >> deaf.pids; touch deaf.ready; exec sleep 1000", tmp_path)
    run = start(deaf, grace=1.2).until_ready()

    assert run.stop() == 0

    assert not alive(numbers(tmp_path / "deaf.pids")[0])
    assert run.report("deaf").last_exit == "was killed by SIGKILL"
    assert "stopping deaf: 1 s" in run.lines


def test_a_second_signal_skips_the_grace(start: Start, tmp_path: Path):
    deaf = shell("deaf", "trap 'touch asked' TERM; touch deaf.ready; while :; do sleep 0.1; done", tmp_path)
    run = start(deaf, grace=1000).until_ready()

    run.process.send_signal(signal.SIGINT)
    eventually((tmp_path / "asked").exists, what="first stop signal")

    assert run.stop(signal.SIGINT) == 0


def test_a_stop_during_the_start_stops_what_was_started(start: Start, tmp_path: Path):
    run = start(sleeper("up", tmp_path), {"name": "never", "argv": ["sleep", "1000"], "ready": "/nowhere"})
    (pid,) = eventually(lambda: numbers(tmp_path / "up.pids"), what="first part")

    assert run.stop() == 0

    assert not alive(pid)
    assert "READY" not in run.lines


def test_a_first_start_that_fails_stops_everything_and_shows_the_end_of_its_log(start: Start, tmp_path: Path):
    noisy = "for i in $(seq 100); do echo line $i; done; printf 'bad \\033[31mport\\n' >&2; exit 3"
    run = start(sleeper("up", tmp_path), shell("bad", noisy, tmp_path, depends_on=["up"]))

    assert run.ended() == Exit.FAULT

    code, message, remedy = json.loads(run.lines[-1])
    assert code == "MW3007"
    assert message.startswith("`bad` exited with code 3")
    assert "line 100\n" in message and "line 50\n" not in message
    assert "bad  [31mport" in message and "\033" not in message
    assert str(run.state.log("bad")) in remedy
    assert not alive(numbers(tmp_path / "up.pids")[0])
    assert "READY" not in run.lines


SAID = '{"level": "error", "event": "the records are gone", "code": "%s", "remedy": "put them back"}'


def test_a_part_that_knows_why_it_ended_is_heard_first(start: Start, tmp_path: Path):
    run = start(shell("bad", f"echo one; echo '{SAID % 'MW4001'}'; exit 1", tmp_path, says_why=True))
    assert run.ended() == Exit.FAULT
    code, message, remedy = json.loads(run.lines[-1])
    assert (code, remedy) == ("MW4001", "put them back")
    assert message == "the records are gone (`bad` exited with code 1)"


@pytest.mark.parametrize(
    "text",
    [
        f"echo '{SAID % 'MW4001'}'; echo more",
        f"echo '{SAID % 'MW9999'}'",
        f"echo '{(SAID % 'MW4001').replace('error', 'warning')}'",
        "echo '[1]'; exit 1",
        'echo \'{"level": "error", "code": ["MW4001"], "event": 1}\'',
    ],
)
def test_a_part_that_says_no_error_of_its_own_is_shown_as_it_ended(start: Start, tmp_path: Path, text: str):
    run = start(shell("bad", f"{text}; exit 1", tmp_path, says_why=True))
    assert run.ended() == Exit.FAULT
    assert json.loads(run.lines[-1])[0] == "MW3007"


def test_a_part_that_is_not_ours_names_no_code(start: Start, tmp_path: Path):
    run = start(shell("bad", f"echo '{SAID % 'MW4001'}'; exit 1", tmp_path))
    assert run.ended() == Exit.FAULT
    assert json.loads(run.lines[-1])[0] == "MW3007"


def test_what_an_earlier_life_said_is_not_why_this_one_ended(start: Start, tmp_path: Path):
    first = start(shell("bad", f"echo '{SAID % 'MW4001'}'; exit 1", tmp_path))
    assert first.ended() == Exit.FAULT
    run = start(shell("bad", "exit 1", tmp_path, says_why=True))
    assert run.ended() == Exit.FAULT
    assert json.loads(run.lines[-1])[0] == "MW3007"


def test_a_part_that_is_never_ready_is_named_after_the_deadline(start: Start, tmp_path: Path):
    deaf = "trap '' TERM; while :; do sleep 0.1; done"
    run = start({"name": "mute", "argv": ["sh", "-c", deaf], "ready": "/nowhere"}, start=1.1)

    assert run.ended() == Exit.FAULT

    assert json.loads(run.lines[-1])[1].startswith("`mute` was not ready within 1 s")
    assert "starting mute: 1 s" in run.lines


def test_a_program_that_does_not_exist_is_a_failed_start(start: Start):
    run = start({"name": "absent", "argv": ["/nowhere/nginx"]})

    assert run.ended() == Exit.FAULT

    assert "`absent` could not be started: " in json.loads(run.lines[-1])[1]


def test_sighup_reaches_only_those_who_want_it(start: Start, tmp_path: Path):
    text = "trap 'echo {0} >> hups' HUP; touch {0}.ready; while :; do sleep 0.05; done"
    run = start(
        shell("wants", text.format("wants"), tmp_path, takes_hup=True),
        shell("not", text.format("not"), tmp_path),
    ).until_ready()

    run.process.send_signal(signal.SIGHUP)
    run.process.send_signal(signal.SIGHUP)
    eventually((tmp_path / "hups").exists, what="hang-up")

    assert run.stop() == 0
    assert set((tmp_path / "hups").read_text().split()) == {"wants"}


def test_a_signal_to_the_whole_group_ends_what_ignores_it_at_the_top(start: Start, tmp_path: Path):
    inner = (
        f"trap 'touch {tmp_path}/told; exit 0' TERM; touch {tmp_path}/in.ready; while :; do sleep 0.05; done"
    )
    unshare = ["unshare", "--map-root-user", "--net", "--pid", "--fork", "--kill-child", "sh", "-c", inner]
    part = {"name": "in", "argv": unshare, "ready": str(tmp_path / "in.ready"), "signal_group": True}
    run = start(part, grace=10).until_ready()

    assert run.stop() == 0

    assert (tmp_path / "told").exists()
    assert run.report("in").last_exit != "was killed by SIGKILL"


def test_logs_are_private_and_bounded(start: Start, tmp_path: Path):
    noise = "touch noisy.ready; for i in $(seq 30000); do echo line $i; done; touch done; exec sleep 1000"
    run = start(shell("noisy", noise, tmp_path, log_limit=20_000)).until_ready()
    log = run.state.log("noisy")
    eventually((tmp_path / "done").exists, what="noise")

    eventually(lambda: log.stat().st_size <= 20_000, what="log bounded")
    older = eventually(lambda: log.with_name("noisy.log.1").exists() and log.with_name("noisy.log.1"))

    assert older.stat().st_size <= 10_000
    assert {stat.S_IMODE(path.stat().st_mode) for path in (log, older)} == {0o600}
    assert stat.S_IMODE(log.parent.stat().st_mode) == stat.S_IMODE(run.state.path.stat().st_mode) == 0o700


def test_a_status_file_that_cannot_be_written_stops_nothing(start: Start, tmp_path: Path):
    open_state(tmp_path / "state")
    (tmp_path / "state" / "status.json").mkdir()

    run = start(sleeper("one", tmp_path)).until_ready()

    assert alive(numbers(tmp_path / "one.pids")[0])
    assert run.stop() == 0


def members(group: int) -> list[int]:
    """Live processes whose process group is `group`."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, of = path.read_text().rpartition(")")[2].split()[:3]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(of) == group and state != "Z":
            found.append(int(path.parent.name))
    return found
