"""Requests without end, from several threads, while a test changes something: what came of each."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from meshward.testing.waiting import eventually

THREADS = 2
ENOUGH = 25  # answers that must come between two changes, so that each is met under load


@dataclass
class Load:
    """`seen`: how often each status was answered; None where there was no answer."""

    ask: Callable[[], int | None]
    seen: Counter[int | None] = field(default_factory=Counter)
    _over: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def go_on(self) -> None:
        """Until enough more were answered."""
        wanted = self.seen.total() + ENOUGH
        eventually(lambda: self.seen.total() >= wanted, what="the load")

    def run(self) -> None:
        while not self._over.is_set():
            status = self.ask()
            with self._lock:
                self.seen[status] += 1

    def end(self) -> None:
        self._over.set()


@contextmanager
def loaded(ask: Callable[[], int | None]) -> Iterator[Load]:
    load = Load(ask)
    threads = [threading.Thread(target=load.run) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    try:
        load.go_on()
        yield load
        load.go_on()
    finally:
        load.end()
        for thread in threads:
            thread.join()
