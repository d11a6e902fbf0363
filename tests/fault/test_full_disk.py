"""A disk that fills under load (K04): nobody is served without a record, and it mends itself when there is room."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from bench.busy import Busy, busy

from meshward.runtime.place.directories import State, run_path
from tests.fault.conftest import SIZE, Watch
from tests.stack.disk import small_disk
from tests.stack.running import eventually

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0, reason="not run: a disk that can be filled is a small tmpfs, which only root can mount"
)


@pytest.fixture(scope="module")
def work(short_dir: Path) -> Iterator[Busy]:
    """RUN, with all logs, on 64 MB of its own."""
    place = run_path(State(short_dir / "s"))
    place.mkdir(parents=True, exist_ok=True)
    with small_disk(place, "64m", 0o711), busy(short_dir, SIZE) as instance:
        yield instance


def test_a_full_disk_closes_the_gateway_and_room_opens_it(work: Busy, watch: Watch) -> None:
    ballast = run_path(State(work.state)) / "ballast"
    # Without a buffer: the rest in one may be refused once more when the file is closed.
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"x" * 65536)
    eventually(lambda: work.status("alice", "users", "m01") == 503, what="a refusal")
    assert watch.seen()["cut"] == 0
    ballast.unlink()
    watch.well()
