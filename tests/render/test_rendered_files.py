"""A directory of rendered files is exactly what was rendered: what is not ours stops it, what was of before goes."""

from __future__ import annotations

import contextlib
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from meshward.kit import codes, rendered
from meshward.kit.errors import MeshwardError
from meshward.kit.rendered import LIST, write_rendered

FILES = {"a.yaml": b"one", "models/b.yaml": b"two", "models/deep/c": b"three"}


def contents(place: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(place)): path.read_bytes()
        for path in sorted(place.rglob("*"))
        if path.is_file() and path.name != LIST
    }


def test_it_holds_these_and_a_second_time_nothing_is_written(tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    assert write_rendered(out, FILES).changed == tuple(sorted(FILES))
    before = {path: path.stat().st_ino for path in out.rglob("*")}
    again = write_rendered(out, FILES)
    assert (again.changed, again.removed, again.same) == ((), (), tuple(sorted(FILES)))
    assert contents(out) == FILES and {path: path.stat().st_ino for path in out.rglob("*")} == before


def test_everybody_may_read_them_whatever_the_mask(tmp_path: Path) -> None:
    mask = os.umask(0o077)
    try:
        write_rendered(tmp_path / "out", FILES)
    finally:
        os.umask(mask)
    modes = {path.stat().st_mode & 0o7777 for path in (tmp_path / "out").rglob("*")}
    assert modes == {0o644, 0o755}


def test_what_is_no_longer_rendered_goes_with_its_directories(tmp_path: Path) -> None:
    write_rendered(tmp_path, FILES)
    told = write_rendered(tmp_path, {"a.yaml": b"other", "models": b"a file now"})
    assert (told.changed, told.removed) == (("a.yaml", "models"), ("models/b.yaml", "models/deep/c"))
    assert contents(tmp_path) == {"a.yaml": b"other", "models": b"a file now"}


def test_a_file_that_somebody_changed_is_made_right(tmp_path: Path) -> None:
    write_rendered(tmp_path, FILES)
    (tmp_path / "a.yaml").write_bytes(b"edited")
    (tmp_path / "models/b.yaml").chmod(0o600)
    assert write_rendered(tmp_path, FILES).changed == ("a.yaml", "models/b.yaml")
    assert contents(tmp_path) == FILES


@pytest.mark.parametrize("stranger", ["mine.txt", "models/mine.txt", "other/mine.txt", "empty/"])
def test_what_is_not_ours_stops_it_and_stays(tmp_path: Path, stranger: str) -> None:
    write_rendered(tmp_path, FILES)
    place = tmp_path / stranger
    place.parent.mkdir(exist_ok=True)
    place.mkdir() if stranger.endswith("/") else place.write_text("mine")
    with pytest.raises(MeshwardError, match=stranger.rstrip("/").split("/")[0]) as refused:
        write_rendered(tmp_path, {"a.yaml": b"other"})
    assert refused.value.code is codes.FOREIGN_FILES and place.exists()
    assert (tmp_path / "a.yaml").read_bytes() == b"one"


def test_a_directory_of_somebody_else_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("mine, and called as one of ours")
    with pytest.raises(MeshwardError) as refused:
        write_rendered(tmp_path, FILES)
    assert refused.value.code is codes.FOREIGN_FILES


def test_two_at_once_are_one_after_the_other(tmp_path: Path) -> None:
    """Of other files, and none of either fails or stays: CI may render two branches into one place."""
    others = {"z.yaml": b"one", "models/y.yaml": b"two", "guards/x": b"three"}
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda turn: write_rendered(tmp_path, (FILES, others)[turn % 2]), range(60)))
    assert contents(tmp_path) in (FILES, others)


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    write_rendered(tmp_path / "out", FILES)
    (tmp_path / "out/models/deep/c").unlink()
    (tmp_path / "out/models/deep").rmdir()
    (tmp_path / "out/models/deep").symlink_to(elsewhere)
    with pytest.raises(MeshwardError, match="deep"):
        write_rendered(tmp_path / "out", FILES)
    assert not list(elsewhere.iterdir())


@pytest.mark.parametrize("line", ["0" * 64 + "  ../../etc/passwd", "0" * 64 + "  /etc/passwd", "nonsense"])
def test_a_list_that_leads_elsewhere_is_none_of_ours(tmp_path: Path, line: str) -> None:
    (tmp_path / LIST).write_text(line + "\n")
    with pytest.raises(MeshwardError) as refused:
        write_rendered(tmp_path, {})
    assert refused.value.code is codes.FOREIGN_FILES


def test_the_list_is_one_that_sha256sum_reads(tmp_path: Path) -> None:
    write_rendered(tmp_path, FILES)
    done = subprocess.run(["sha256sum", "--check", "--strict", LIST], cwd=tmp_path, capture_output=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("stop", range(12))
def test_one_that_is_stopped_anywhere_is_completed_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: int
) -> None:
    write_rendered(tmp_path, FILES)
    wanted = {"a.yaml": b"new", "models/d.yaml": b"four"}
    steps = iter(range(stop, -1, -1))

    class Stopped(Exception):
        pass

    def counted(name: str) -> None:
        plain = getattr(rendered, name)

        def step(*arguments: object, **how: object) -> object:
            if next(steps, 0) == 0:
                raise Stopped
            return plain(*arguments, **how)

        monkeypatch.setattr(rendered, name, step)

    for name in ("write_atomic", "_remove", "_make_directory"):
        counted(name)
    with contextlib.suppress(Stopped):
        write_rendered(tmp_path, wanted)
    monkeypatch.undo()
    (tmp_path / ".a.yaml.0123456789ab").write_text("what a killed write left")
    write_rendered(tmp_path, wanted)
    assert contents(tmp_path) == wanted
