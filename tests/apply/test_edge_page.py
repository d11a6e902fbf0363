"""The page is written in place, in a directory that nginx owns: only what we put there is touched."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from meshward.apply.edge_page import SIZE, EdgePage, page_bytes


def _link(page: Path, other: Path) -> None:
    page.symlink_to(other)


def _hard_link(page: Path, other: Path) -> None:
    page.hardlink_to(other)


@pytest.mark.parametrize("put", [_link, _hard_link])
def test_a_link_in_the_place_of_the_page_is_not_followed(put, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    other = tmp_path / "another"
    other.write_bytes(b"x" * SIZE)
    page = EdgePage.in_directory(tmp_path)
    put(page.path, other)
    for act in (page.raise_epoch, lambda: page.show(7)):
        with pytest.raises(OSError, match=r"page|symbolic"):
            act()
    page.close()
    assert other.read_bytes() == b"x" * SIZE


@pytest.mark.parametrize("size", [0, SIZE - 1, SIZE + 1])
def test_a_page_of_another_size_is_none(size: int, tmp_path: Path) -> None:
    page = EdgePage.in_directory(tmp_path)
    page.path.write_bytes(b"x" * size)
    with pytest.raises(OSError, match="not a page"):
        page.raise_epoch()
    page.close()
    assert page.path.read_bytes() == b"x" * size


def test_a_pipe_in_the_place_of_the_page_holds_nobody_up(tmp_path: Path) -> None:
    page = EdgePage.in_directory(tmp_path)
    os.mkfifo(page.path)
    with pytest.raises(OSError, match="not a page"):
        page.raise_epoch()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_page_that_nginx_put_there_is_none(tmp_path: Path) -> None:
    page = EdgePage.in_directory(tmp_path)
    page.path.write_bytes(page_bytes(5, 1))
    os.chown(page.path, 61190, 61190)
    with pytest.raises(OSError, match="not a page"):
        page.raise_epoch()
    assert page.path.read_bytes() == page_bytes(5, 1)
