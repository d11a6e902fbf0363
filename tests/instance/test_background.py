"""Work beside the parts: none of it ends unheard, none of it ends the others, and all of it ends with the instance."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest
from structlog.testing import capture_logs

from meshward.instance import background as module
from meshward.instance.background import background
from meshward.kit import codes
from meshward.kit.errors import MeshwardError


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FIRST_PAUSE", 0.001)


async def _for_ever() -> None:
    await asyncio.Event().wait()


def test_a_piece_that_fails_is_logged_and_said_and_begins_anew() -> None:
    tries, said = list[int](), list[str]()

    async def play() -> None:
        again = asyncio.Event()

        async def work() -> None:
            tries.append(len(tries))
            if len(tries) == 1:
                raise KeyError("m1/v2")
            again.set()
            await _for_ever()

        async with background(said.append) as beside, asyncio.timeout(60):
            beside.begin("the watch", work)
            await again.wait()

    with capture_logs() as logged:
        asyncio.run(play())
    assert tries == [0, 1]
    assert [(each["event"], each["work"]) for each in logged] == [("background_fault", "the watch")]
    assert len(said) == 1 and said[0].startswith("the watch ended (KeyError)")


def test_a_piece_of_which_nobody_hears_begins_anew() -> None:
    def say(_: str) -> None:
        raise BrokenPipeError

    async def play() -> None:
        tries, again = list[int](), asyncio.Event()

        async def work() -> None:
            tries.append(len(tries))
            if len(tries) == 1:
                raise KeyError
            again.set()
            await _for_ever()

        async with background(say) as beside, asyncio.timeout(60):
            beside.begin("the watch", work)
            await again.wait()

    with capture_logs():
        asyncio.run(play())


def test_progress_that_nobody_reads_ends_nothing() -> None:
    """A terminal or a pipe may close while the instance runs."""
    script = (
        "import os; r, w = os.pipe(); os.close(r); os.dup2(w, 2)\n"
        "from meshward.cli.up import _progress; _progress('x'); os._exit(7)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 7


def test_a_piece_that_just_ends_is_a_fault_too() -> None:
    said = list[str]()

    async def play() -> None:
        ended = asyncio.Event()

        async def work() -> None:
            if said:
                ended.set()
                await _for_ever()

        async with background(said.append) as beside, asyncio.timeout(60):
            beside.begin("the watch", work)
            await ended.wait()

    with capture_logs() as logged:
        asyncio.run(play())
    assert [each["event"] for each in logged] == ["background_ended"] and "has no end" in said[0]


def test_a_piece_that_fails_ends_none_of_the_others() -> None:
    async def play() -> None:
        failed, ended = asyncio.Event(), list[str]()

        async def other() -> None:
            try:
                await _for_ever()
            finally:
                ended.append("other")

        async def failing() -> None:
            failed.set()
            raise OSError(28, "No space left")

        async with background(lambda _: None) as beside, asyncio.timeout(60):
            beside.begin("other", other)
            for _ in range(3):
                failed.clear()
                beside.begin("failing", failing)
                await failed.wait()
            assert ended == []
        assert ended == ["other"], "and all end with the instance"

    with capture_logs():
        asyncio.run(play())


def test_what_is_raised_inside_comes_out_as_itself_with_all_work_ended() -> None:
    """A first start that failed is reported by its code, never as a group of exceptions."""
    ended = list[str]()

    async def play() -> None:
        async def work() -> None:
            try:
                await _for_ever()
            finally:
                ended.append("work")

        async with background(lambda _: None) as beside:
            beside.begin("work", work)
            await asyncio.sleep(0)
            raise MeshwardError(codes.SOCKET_PATH_TOO_LONG, "a part did not start")

    with pytest.raises(MeshwardError, match="did not start"):
        asyncio.run(play())
    assert ended == ["work"]


def test_it_begins_anew_ever_later(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses, really = list[float](), asyncio.sleep

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        await really(0)

    async def play() -> None:
        async def work() -> None:
            raise ValueError("a fault")

        async with background(lambda _: None) as beside, asyncio.timeout(60):
            beside.begin("work", work)
            while len(pauses) < 9:
                await really(0)

    monkeypatch.setattr(module, "_FIRST_PAUSE", 1.0)
    monkeypatch.setattr(module.asyncio, "sleep", sleep)
    with capture_logs():
        asyncio.run(play())
    assert pauses[:9] == [1, 2, 4, 8, 16, 32, 60, 60, 60]
