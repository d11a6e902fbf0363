"""An instance at work for the faults: 50 requests per second of good traffic to three models, and 5 open streams."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from bench.busy import Busy, Size, busy

from tests.stack.running import eventually

SIZE = Size(models=3, rate=50, streams=5)


@pytest.fixture(scope="module")
def work(short_dir: Path) -> Iterator[Busy]:
    with busy(short_dir, SIZE) as instance:
        yield instance


class Watch:
    """What the load saw from one mark to the next."""

    def __init__(self, instance: Busy) -> None:
        self._instance = instance

    def begin(self) -> None:
        """Forget what was; all must be well."""
        self.well()

    def seen(self) -> dict[str, Any]:
        return self._instance.mark()

    def well(self) -> None:
        """Wait until half a second of requests was all good and every stream goes on."""
        self._instance.mark()

        def is_well() -> bool:
            time.sleep(0.5)  # the load goes on meanwhile: this is what is measured
            seen = self._instance.mark()
            return not seen["failed"] and seen["requests"] > 0 and seen["open"] == self._instance.size.streams

        eventually(is_well, what="good requests and all streams again")

    def during(self, fault: Callable[[], object], seconds: float) -> dict[str, Any]:
        """What the load sees in the `seconds` from `fault` on."""
        self._instance.mark()
        fault()
        time.sleep(seconds)
        return self._instance.mark()


@pytest.fixture
def watch(work: Busy) -> Watch:
    watch = Watch(work)
    watch.begin()
    return watch


def of(seen: dict[str, Any], model: str) -> dict[str, int]:
    """The failures of `model` alone, by status or error."""
    return {why: count for why, count in seen["why"].items() if f"/m/{model}/" in why}
