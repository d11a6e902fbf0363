"""One lock: one holder, who may be waited for, and whose end sets it free."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from meshward.kit.lock import hold_lock, is_free, take


def test_one_holder(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    assert is_free(file) and not file.exists()
    descriptor = take(file)
    assert descriptor is not None and not is_free(file)
    assert take(file) is None and take(file, patience=0.05) is None
    os.close(descriptor)
    assert is_free(file) and file.stat().st_mode & 0o777 == 0o600


def test_who_waits_gets_it_when_it_is_free(tmp_path: Path) -> None:
    file, order = tmp_path / "lock", list[str]()

    def second() -> None:
        with hold_lock(file):
            order.append("second")

    with hold_lock(file):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(0.1)
        order.append("first")
    thread.join(60)
    assert order == ["first", "second"] and is_free(file)


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to("elsewhere")
    for attempt in (take, is_free):
        with pytest.raises(OSError):
            attempt(tmp_path / "lock")
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_file_holds_no_lock(tmp_path: Path, make: Callable[[Path], None]) -> None:
    """And a pipe is not waited for."""
    make(tmp_path / "lock")
    for attempt in (take, is_free):
        with pytest.raises(OSError):
            attempt(tmp_path / "lock")
