from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from meshward.kit.errors import MeshwardError
from meshward.kit.exits import Exit
from meshward.runtime.place import directories
from meshward.runtime.place.directories import (
    Run,
    State,
    clean,
    open_state,
    own_directory,
    run_directory,
    run_path,
    socket_path,
)

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="not root: cannot make another user's directory")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def as_user(monkeypatch: pytest.MonkeyPatch, uid: int) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: uid)


def test_a_state_is_made_private_and_an_open_one_is_tightened(tmp_path: Path):
    (tmp_path / "state").mkdir(mode=0o777)
    (tmp_path / "state").chmod(0o777)

    state = open_state(tmp_path / "state")

    assert mode(state.path) == mode(state.logs) == 0o700
    assert mode(open_state(tmp_path / "a" / "b").path) == 0o700


def test_one_state_has_one_name_however_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path / "state")
    assert State(Path("state")) == State(tmp_path / "x" / ".." / "state") == State(tmp_path / "link")
    assert State(Path("state")).hex != State(Path("other")).hex


def test_roots_run_directory_can_be_passed_through_but_not_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(directories, "ROOT_RUN", tmp_path / "lib")
    if os.geteuid() != 0:
        as_user(monkeypatch, 0)
        monkeypatch.setattr(directories, "own_directory", lambda path, **_: path)
    state = State(tmp_path / "state")
    assert run_path(state) == tmp_path / "lib" / state.hex
    run = run_directory(state)
    if os.geteuid() == os.getuid() == 0:
        assert mode(run) == mode(tmp_path / "lib") == 0o711


@pytest.mark.parametrize(
    ("state", "inside"),
    [
        ("/home/u/x/.meshward", True),
        ("/home/u/" + "x" * 60, False),
        ("/home/u/a b/.meshward", False),
        ("/h/é", False),
    ],
)
def test_a_users_run_directory_lies_in_the_state_if_sockets_fit_and_nothing_needs_quoting(
    state: str, inside: bool, monkeypatch: pytest.MonkeyPatch
):
    as_user(monkeypatch, 1000)
    where = State(Path(state))
    outside = Path(f"/var/tmp/meshward-1000-{where.hex}")
    assert run_path(where) == (where.path / "run" if inside else outside)


def test_a_directory_behind_a_symbolic_link_is_refused(tmp_path: Path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(MeshwardError) as caught:
        own_directory(tmp_path / "link")
    assert (caught.value.code.number, caught.value.exit_code) == ("MW3002", Exit.UNSAFE)


@needs_root
def test_a_directory_of_somebody_else_is_refused(tmp_path: Path):
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    os.chown(theirs, 61999, 61999)
    with pytest.raises(MeshwardError, match="belongs to uid 61999"):
        own_directory(theirs)
    with pytest.raises(MeshwardError, match="belongs to uid 61999"):
        own_directory(theirs, uid=61998)
    assert theirs.stat().st_uid == 61999


@needs_root
def test_a_directory_can_be_handed_to_a_parts_user_and_taken_over_again(tmp_path: Path):
    for _ in range(2):
        made = own_directory(tmp_path / "edge", uid=61999, gid=61998, mode=0o710)
        assert (made.stat().st_uid, made.stat().st_gid, mode(made)) == (61999, 61998, 0o710)


def test_a_file_in_the_place_of_a_directory_is_refused(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(MeshwardError):
        own_directory(tmp_path / "file")


def test_a_path_that_no_socket_can_have_is_refused_before_anything_runs():
    assert len(str(socket_path(Path("/" + "x" * 102)))) == 103
    with pytest.raises(MeshwardError) as caught:
        socket_path(Path("/" + "x" * 103))
    assert caught.value.code.number == "MW3003"
    with pytest.raises(MeshwardError, match="unix socket"):
        _ = Run(Path("/" + "x" * 90)).decide_socket


def test_the_layout_fits_for_the_longest_names_and_the_longest_run_directory(tmp_path: Path):
    run = Run(Path("/" + "r" * 58))
    names = ("m" * 63, "v" * 63)
    assert run.model_socket(*names).parent == run.model_dir(*names)
    assert run.guard_socket(7) == run.path / "guards" / "07" / "guard.sock"
    assert run.decide_socket == run.path / "decide" / "decide.sock"
    with socket.socket(socket.AF_UNIX) as server:
        short = Run(tmp_path / "r")
        short.decide_dir.mkdir(parents=True)
        server.bind(str(short.decide_socket))


def test_two_model_versions_never_share_a_directory():
    run = Run(Path("/run"))
    pairs = [("a-b", "c"), ("a", "b-c"), ("a.b", "c"), ("a_b", "c"), ("m" * 63, "1"), ("m" * 63, "2")]
    assert len({run.model_dir(*pair) for pair in pairs}) == len(pairs)


def test_what_release_0_1_0_kept_in_memory_is_removed(tmp_path: Path):
    state = State(tmp_path / "state")
    shm = directories.shm_path(state)
    (shm / "ab").mkdir(parents=True)
    (shm / "ab" / "decision").write_text("stale")
    clean(state)
    assert not shm.exists()


def test_a_link_in_the_place_of_the_memory_directory_is_refused_and_what_it_names_stays(tmp_path: Path):
    state = State(tmp_path / "state")
    (tmp_path / "victim").mkdir()
    (tmp_path / "victim" / "file").write_text("precious")
    link = directories.shm_path(state)
    link.symlink_to(tmp_path / "victim")
    try:
        with pytest.raises(MeshwardError, match="symbolic link"):
            clean(state)
    finally:
        link.unlink()
    assert (tmp_path / "victim" / "file").read_text() == "precious"


def test_cleaning_does_not_follow_links_out_of_the_run_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(directories, "ROOT_RUN", tmp_path / "lib")
    state = State(tmp_path / "s")
    run = run_path(state)
    run.mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    (run / "edge").symlink_to(tmp_path / "outside")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "outside" / "s"))
    clean(state)
    assert (tmp_path / "outside" / "s").exists()


def test_a_directory_with_other_things_in_it_is_left_alone(tmp_path: Path) -> None:
    """`--state /tmp` by root must not close /tmp to everybody."""
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    (shared / "somebody's").touch()
    with pytest.raises(MeshwardError, match="not empty"):
        open_state(shared)
    assert mode(shared) == 0o1777 and [path.name for path in shared.iterdir()] == ["somebody's"]


def test_a_state_is_known_again(tmp_path: Path) -> None:
    open_state(tmp_path / "state")
    (tmp_path / "state" / "more").touch()
    open_state(tmp_path / "state")


def test_cleaning_takes_private_keys_and_leaves_logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directories, "ROOT_RUN", tmp_path / "lib")
    state = State(tmp_path / "s")
    edge = run_path(state) / "edge"
    given = Run(run_path(state)).edge_given
    for directory in (edge / "certs", given / "certs"):  # the former: of release 0.1.0
        directory.mkdir(parents=True)
        (directory / "web.1.pem").write_text("x")
    for name in ("svid.json", "access.log", "access.log.1"):
        (edge / name).write_text("x")
    clean(state)
    assert sorted(path.name for path in edge.rglob("*")) == ["access.log", "access.log.1"]
    assert not given.exists()


def test_cleaning_survives_whatever_a_hop_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tree deeper than a path may be long; links, pipes."""
    monkeypatch.setattr(directories, "ROOT_RUN", tmp_path / "lib")
    state = State(tmp_path / "s")
    guard = Run(run_path(state)).guard_dir(3)
    guard.mkdir(parents=True)
    os.mkfifo(guard / "access.log.1")
    (guard / "access.log.2").symlink_to(tmp_path)
    monkeypatch.chdir(guard)
    for _ in range(1200):
        Path("deep").mkdir()
        os.chdir("deep")
    monkeypatch.chdir(tmp_path)
    clean(state)
    assert list(guard.iterdir()) == []
