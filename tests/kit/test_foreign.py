"""What a hop may put into its own directory, and what we then do: nothing outside of it, and nothing without end."""

from __future__ import annotations

import os
import signal
import socket
import stat
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from meshward.kit import foreign
from meshward.kit.foreign import (
    MOST_LOGS,
    MOST_NAMES,
    Holder,
    NotAsMade,
    close_to_others,
    fault_of,
    faults_in,
    hand_to,
    logs_in,
    make_own,
    make_room,
    open_file,
    opened,
    remove_tree,
)
from meshward.runtime.place.identities import ProcessIdentity
from meshward.runtime.place.reachable import hindrance
from tests.stack.disk import small_disk

ROOT = os.geteuid() == 0
needs_root = pytest.mark.skipif(not ROOT, reason="not root: no other user's directory")
HOP, OTHER = (61080, 61081) if ROOT else (os.geteuid(), os.geteuid())
GROUP = 61082 if ROOT else os.getegid()
HOLDER = Holder(HOP, GROUP, 0o2710)


@pytest.fixture
def precious(tmp_path: Path) -> Path:
    """A directory of ours, as STATE is, with a file that a hop would like to have read, changed or gone."""
    directory = tmp_path / "state"
    directory.mkdir(mode=0o700)
    (directory / "revocations.json").write_text("alice")
    (directory / "revocations.json").chmod(0o600)
    return directory


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A hop's own directory."""
    path = tmp_path / "guards" / "00"
    path.parent.mkdir(mode=0o711)
    assert make_own(path, HOLDER) == []
    return path


@pytest.fixture(autouse=True)
def untouched(precious: Path) -> Iterator[None]:
    """Whatever a test does: nothing of ours is read, changed, moved or handed over."""
    before = seen(precious)
    yield
    assert seen(precious) == before


@pytest.fixture(autouse=True)
def never_waits() -> Iterator[None]:
    """Who waits for a pipe fails, and does not hang."""

    def give_up(*_: object) -> None:
        raise AssertionError("it waits")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def seen(directory: Path) -> list[tuple[object, ...]]:
    return [
        (
            path.name,
            (about := path.lstat()).st_mode,
            about.st_uid,
            about.st_gid,
            about.st_nlink,
            about.st_size,
        )
        for path in (directory, directory / "revocations.json")
    ]


def log(path: Path) -> Path:
    """A plain log of the hop's, which holds its own name."""
    path.write_text(path.name)
    os.chown(path, HOP, -1)
    return path


def link(path: Path, precious: Path) -> None:
    path.symlink_to(precious / "revocations.json")


def dangling(path: Path, precious: Path) -> None:
    path.symlink_to(precious / "none")


def link_to_directory(path: Path, precious: Path) -> None:
    path.symlink_to(precious)


def link_to_own_elsewhere(path: Path, precious: Path) -> None:
    """What it leads to is as a log should be: a file, of one name, the directory's owner's."""
    path.symlink_to(log(precious.parent / "elsewhere"))


def link_to_endless(path: Path, _: Path) -> None:
    path.symlink_to("/dev/zero")


def pipe(path: Path, _: Path) -> None:
    os.mkfifo(path)


def directory(path: Path, _: Path) -> None:
    (path / "in" / "it").mkdir(parents=True)
    (path / "in" / "file").touch()


def unix_socket(path: Path, _: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


def device(path: Path, _: Path) -> None:
    try:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 5))  # /dev/zero
    except PermissionError:
        pytest.skip("this root may make no devices")


def hard_link(path: Path, _: Path) -> None:
    path.hardlink_to(log(path.with_name("beside")))


def anothers(path: Path, _: Path) -> None:
    path.write_text("x")
    os.chown(path, OTHER, -1)


KINDS: list[Callable[[Path, Path], None]] = [
    *(link, dangling, link_to_directory, link_to_own_elsewhere, link_to_endless),
    *(pipe, directory, unix_socket, hard_link),
    pytest.param(anothers, marks=needs_root),  # type: ignore[list-item]
    pytest.param(device, marks=needs_root),  # type: ignore[list-item]
]


@pytest.mark.parametrize("put", KINDS)
def test_it_is_found_never_opened_and_cleared_by_the_next_start(
    put: Callable[[Path, Path], None], own: Path, precious: Path
) -> None:
    put(own / "access.log", precious)
    with opened(own) as descriptor:
        assert fault_of(descriptor, "access.log")
        for write in (False, True):
            with pytest.raises(NotAsMade):
                open_file(descriptor, "access.log", write=write)
    assert faults_in(own, HOP, ())[0].startswith("`access.log`: it ")
    assert make_own(own, HOLDER) != []
    assert list(own.iterdir()) == [] and faults_in(own, HOP, ()) == []


@pytest.mark.parametrize("put", KINDS)
def test_in_the_place_of_the_whole_directory(
    put: Callable[[Path, Path], None], own: Path, precious: Path
) -> None:
    """Whoever restores a backup can do this; a hop cannot."""
    own.rmdir()
    put(own, precious)
    if not own.is_dir() or own.is_symlink():
        assert faults_in(own, HOP, ()) != []
        with pytest.raises((NotAsMade, FileNotFoundError)), opened(own):
            pass
        with suppress(NotAsMade):
            close_to_others(own)
    make_own(own, HOLDER)
    assert list(own.iterdir()) == [] and faults_in(own, HOP, ()) == []


@pytest.mark.parametrize("put", KINDS)
def test_it_is_removed_and_what_it_leads_to_stays(
    put: Callable[[Path, Path], None], own: Path, precious: Path
) -> None:
    put(own / "xds", precious)
    remove_tree(own)
    remove_tree(own)
    assert not own.exists()


def test_plain_logs_stay_and_what_a_killed_process_leaves_is_not_odd(own: Path, precious: Path) -> None:
    for name in ("access.log", "access.log.1", "pid"):
        log(own / name)
    unix_socket(own / "guard.sock", precious)
    (own / "proxy_temp" / "1").mkdir(parents=True)
    assert make_own(own, HOLDER) == []
    assert sorted(path.name for path in own.iterdir()) == ["access.log", "access.log.1"]
    assert (own / "access.log").read_text() == "access.log"


@needs_root
def test_a_directory_of_another_owner_is_taken_over_with_its_logs(own: Path, precious: Path) -> None:
    """A slot's next guard, or a backup that was put back with other numbers."""
    log(own / "access.log")
    link(own / "access.log.1", precious)
    assert len(make_own(own, Holder(OTHER, GROUP, 0o2710))) == 1
    assert [path.name for path in own.iterdir()] == ["access.log"]
    assert (own.stat().st_uid, (own / "access.log").stat().st_uid) == (OTHER, OTHER)
    assert faults_in(own, HOP, ()) != [] and faults_in(own, OTHER, ()) == []


@needs_root
def test_what_is_handed_to_a_running_part_keeps_its_socket_unless_it_was_somebodys(own: Path) -> None:
    unix_socket(own / "model.sock", own)
    hand_to(own, HOLDER)
    assert (own / "model.sock").is_socket()
    hand_to(own, Holder(OTHER, GROUP, 0o2710))
    assert list(own.iterdir()) == [] and own.stat().st_uid == OTHER


def test_modes_are_set_however_the_owner_left_them(own: Path) -> None:
    own.chmod(0o777)
    make_own(own, HOLDER)
    about = own.stat()
    assert (about.st_uid, about.st_gid, stat.S_IMODE(about.st_mode)) == (HOP, GROUP, 0o2710)
    close_to_others(own)
    assert (own.stat().st_uid, stat.S_IMODE(own.stat().st_mode)) == (os.geteuid(), 0o700)


def test_very_deep_and_very_many(own: Path) -> None:
    """A tree that recursion, and a descriptor for each level, would not survive; more names than anybody looks at."""
    here = Path.cwd()
    os.chdir(own)
    try:
        for _ in range(1500):
            Path("deep").mkdir()
            os.chdir("deep")
            Path("file").touch()
    finally:
        os.chdir(here)
    for number in range(2 * MOST_NAMES):
        (own / f"many-{number}").mkdir()
        log(own / f"access.log.{number}")
    assert "names" in faults_in(own, HOP, ())[0]
    with opened(own) as descriptor, pytest.raises(NotAsMade):
        logs_in(descriptor, "access.log")
    make_own(own, HOLDER)
    assert len(list(own.iterdir())) == MOST_LOGS
    remove_tree(own)
    assert not own.exists()


def test_a_log_that_was_rotated_to_too_many_files_is_refused(own: Path) -> None:
    for number in range(MOST_LOGS + 1):
        (own / f"access.log.{number}").touch()
    with opened(own) as descriptor, pytest.raises(NotAsMade, match="rotated"):
        logs_in(descriptor, "access.log")


def test_what_is_no_log_does_not_belong_there_and_its_name_does_nothing_to_a_terminal(own: Path) -> None:
    (own / "guard.sock").touch()
    name = os.fsdecode(b"access.log.\xff\x1b[2J")
    os.mkfifo(own / name)
    (own / "keys").mkdir()
    told = faults_in(own, HOP, ("guard.sock",))
    assert len(told) == 3 and "\x1b" not in "".join(told)
    "".join(told).encode()
    (odd,) = make_own(own, HOLDER)
    assert "\x1b" not in odd and odd.encode()


def test_a_huge_hole_is_a_file_as_any_other_and_costs_nothing(own: Path) -> None:
    with log(own / "access.log").open("wb") as file:
        file.truncate(1 << 40)
    assert faults_in(own, HOP, ()) == [] and make_own(own, HOLDER) == []


def test_swapped_while_we_work(own: Path, precious: Path) -> None:
    """A thread makes a name a link, a pipe, a directory and nothing, as fast as it can, during each operation."""
    stop, name = threading.Event(), own / "access.log"
    plain = own / "beside"

    def swap() -> None:
        while not stop.is_set():
            for put in (link, link_to_directory, pipe, directory):
                with suppress(OSError):
                    put(name, precious)
                with suppress(OSError):
                    name.unlink()
                with suppress(OSError):
                    (name / "in" / "file").unlink()
                    (name / "in" / "it").rmdir()
                    (name / "in").rmdir()
                    name.rmdir()
                with suppress(OSError):
                    log(plain).rename(name)

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        for _ in range(300):
            with opened(own) as descriptor, suppress(OSError):
                about = os.fstat(opened_file := open_file(descriptor, "access.log", write=True))
                os.close(opened_file)
                assert stat.S_ISREG(about.st_mode) and about.st_uid == HOP
            with suppress(OSError):
                faults_in(own, HOP, ("guard.sock",))
            with suppress(OSError):
                make_own(own, HOLDER)
            with suppress(OSError):
                hand_to(own, HOLDER)
    finally:
        stop.set()
        thread.join()
    make_own(own, HOLDER)
    assert faults_in(own, HOP, ()) == []
    remove_tree(own)


@needs_root
def test_who_fills_the_disk_is_told_and_its_logs_are_emptied(
    own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a file has on the disk counts: erased lines, and what is only claimed, are nothing."""
    monkeypatch.setattr(foreign, "ROOM", 1 << 20)
    with small_disk(own, "8m", 0o2710):
        os.chown(own, HOP, GROUP)
        log, rotated = own / "access.log", own / "access.log.1"
        for each in (log, rotated):
            each.touch()
            os.chown(each, HOP, GROUP)
        os.truncate(rotated, 1 << 40)
        log.write_bytes(b"x" * (3 << 20))
        assert faults_in(own, HOP, []) == [], "as much is left"
        make_room(own)
        assert log.stat().st_size == 3 << 20
        log.write_bytes(b"x" * (5 << 20))
        assert faults_in(own, HOP, []) == ["it takes 5 MB of a disk that has 3 MB left"]
        close_to_others(own)
        make_room(own)
        assert log.stat().st_size == rotated.stat().st_size == 0
        monkeypatch.setattr(foreign, "ROOM", 6 << 20)
        log.write_bytes(b"x" * (5 << 20))
        os.chown(own, HOP, GROUP)
        assert faults_in(own, HOP, []) == [], "however little is left"


@needs_root
def test_no_more_logs_than_are_followed(own: Path) -> None:
    """Else the collector could not read on, and nobody would be shut away for it."""
    for number in range(MOST_LOGS + 1):
        (own / f"access.log.{number}").touch()
        os.chown(own / f"access.log.{number}", HOP, GROUP)
    assert faults_in(own, HOP, []) == [f"it was rotated to more than {MOST_LOGS} files"]


KEPT_SHUT = {
    "a lease": "import fcntl, os; fd = os.open(log, os.O_RDONLY); fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)",
    "a program that runs": "import shutil, subprocess; shutil.copy('/bin/sleep', log); subprocess.Popen([log, '1000'])",
}


@needs_root
@pytest.mark.skipif(
    ROOT and hindrance(ProcessIdentity(HOP, GROUP), ["fcntl"]) != "",
    reason="no other user can run this Python",
)
@pytest.mark.parametrize("how", KEPT_SHUT.values(), ids=KEPT_SHUT)
def test_a_log_that_its_owner_keeps_from_being_opened(own: Path, how: str) -> None:
    log = own / "access.log"
    log.touch()
    os.chown(log, HOP, GROUP)
    script = f"import time; log = './access.log'\n{how}\nprint('held', flush=True); time.sleep(1000)"
    with subprocess.Popen(
        [sys.executable, "-c", script],
        user=HOP,
        group=GROUP,
        extra_groups=[],
        cwd=own,
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as hop:
        try:
            assert hop.stdout is not None and hop.stdout.readline()
            (told,) = faults_in(own, HOP, [])
        finally:
            os.killpg(hop.pid, signal.SIGKILL)
    assert "it is kept from being opened" in told


def test_whom_the_last_owner_let_in_is_out(own: Path) -> None:
    """By an access list (acl(5)): u::rwx, u:OTHER:rwx, g::rwx, m::rwx, o::---."""
    rows = [(1, 7, -1), (2, 7, OTHER), (4, 7, -1), (16, 7, -1), (32, 0, -1)]
    acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *row) for row in rows)
    log = own / "access.log"
    log.touch()
    os.chown(log, HOP, GROUP)
    try:
        for path, name in ((own, "access"), (own, "default"), (log, "access")):
            os.setxattr(path, f"system.posix_acl_{name}", acl)
    except OSError:
        pytest.skip("not run: this file system knows no access lists")
    log.chmod(0o666)
    make_own(own, HOLDER)
    assert [os.listxattr(path) for path in (own, log)] == [[], []]
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
