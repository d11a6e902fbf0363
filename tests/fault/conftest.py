"""An instance at work for the faults: 50 requests per second of good traffic to three models, and 5 open streams."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from bench.busy import Busy, Size, busy

from tests.stack.running import eventually

SIZE = Size(models=3, rate=50, streams=5)
MANY = 25  # requests in a row that were all good: it is well


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
        """Wait until `MANY` requests in a row were good, and every stream goes on."""
        self._instance.mark()
        good = 0

        def is_well() -> bool:
            nonlocal good
            seen = self._instance.mark()
            good = 0 if seen["failed"] else good + seen["requests"]
            return good >= MANY and bool(seen["open"] == self._instance.size.streams)

        eventually(is_well, what="good requests and open streams alone")

    def during(self, fault: Callable[[], object], requests: int) -> dict[str, Any]:
        """What the load sees from `fault` on, until it has made that many requests."""
        self._instance.mark()
        fault()
        return self.next(requests)

    def next(self, requests: int) -> dict[str, Any]:
        """What the load sees in its next requests."""
        total, why = Counter[str](), Counter[str]()

        def made() -> bool:
            seen = self._instance.mark()
            total.update({name: seen[name] for name in ("requests", "failed", "closed", "cut")})
            why.update(seen["why"])
            return total["requests"] >= requests

        eventually(made, what=f"{requests} requests")
        return {**total, "why": dict(why)}


@pytest.fixture
def watch(work: Busy) -> Watch:
    watch = Watch(work)
    watch.begin()
    return watch


def of(seen: dict[str, Any], model: str) -> dict[str, int]:
    """The failures of `model` alone, by status or error."""
    return {why: count for why, count in seen["why"].items() if f"/m/{model}/" in why}
