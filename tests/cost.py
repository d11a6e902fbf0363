"""What a piece of work costs, counted and not timed: a busy machine counts as an idle one does."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TypeVar


def cost(work: Callable[[], object]) -> int:
    """The calls that `work` makes in this thread, of Python's functions and of C's.

    A call of a text's method (`text.count`, `text.find`) costs the text's length as well: it may read all of it.
    """
    spent = 0

    def called(_frame: FrameType, event: str, function: object) -> None:
        nonlocal spent
        if event == "call":
            spent += 1
        elif event == "c_call":
            text = getattr(function, "__self__", None)
            spent += 1 + (len(text) if isinstance(text, str | bytes) else 0)

    with watched(sys.setprofile, called, sys.getprofile()):
        work()
    return spent


_Watcher = TypeVar("_Watcher")


@contextmanager
def watched(
    watch: Callable[[_Watcher | None], None], by: _Watcher, before: _Watcher | None
) -> Iterator[None]:
    """Have `watch` (`sys.setprofile`, `sys.settrace`) tell `by` of every step inside, and `before` again afterwards.

    No garbage is collected meanwhile: that runs others' callbacks (Hypothesis has one), which would be counted.
    """
    gc.disable()
    watch(by)
    try:
        yield
    finally:
        watch(before)
        gc.enable()


def assert_grows(spent: Callable[[int], int], size: int, most: float = 2.2) -> None:
    """Twice the size costs at most `most` times as much: 2 is linear, 4 quadratic. Small sums are forgiven."""
    spent(size)  # what is done a first time only: imports, patterns
    once, twice = spent(size), spent(2 * size)
    assert twice <= most * once + 500, f"{size}: {once} steps, {2 * size}: {twice} steps"


def bytes_read(work: Callable[[], object]) -> int:
    """The bytes that this thread's system calls read while `work` runs."""
    before = _read_so_far()
    work()
    return _read_so_far() - before


def _read_so_far() -> int:
    facts = Path("/proc/thread-self/io").read_text().split()
    return int(facts[facts.index("rchar:") + 1])
