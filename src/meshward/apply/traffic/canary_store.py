"""STATE/walks.json: each model's walk, running or the last one. A restarted instance goes on from here."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from meshward.apply.traffic.canary import Seen, Walk
from meshward.kit import codes
from meshward.kit.statefile import StateFile, put_under


@dataclass(frozen=True, slots=True)
class KeptWalks:
    """By model."""

    walks: Mapping[str, Walk]


WALKS = StateFile(
    "walks.json",
    KeptWalks,
    place="STATE",
    what="each model's walk: running, or the last one",
    remedy=codes.WALKS_DAMAGED.remedy,
    code=codes.WALKS_DAMAGED,
    migrations=(put_under("walks"),),
)


class Walks:
    """The walks of one state. To be changed with `lock` held, and only by the process that holds STATE/lock.

    `seen` and `says` are what the running ones see and wait for; they are not kept.
    """

    def __init__(self, state: Path) -> None:
        self.lock = threading.RLock()
        self.seen: dict[str, Seen] = {}
        self.says: dict[str, str] = {}
        self.walker: threading.Thread | None = None
        self._state = state
        self._table: Mapping[str, Walk] | None = None

    def of(self, model: str) -> Walk | None:
        """Raises MeshwardError (MW3054) where the file is damaged."""
        return self._all().get(model)

    def running(self) -> list[Walk]:
        return [walk for walk in self._all().values() if not walk.is_over]

    def put(self, walk: Walk) -> Walk:
        """Durably. Raises OSError: then nothing has changed."""
        with self.lock:
            table = {**self._all(), walk.model: walk}
            WALKS.write(self._state, KeptWalks(table))
            self._table = table
            return walk

    def _all(self) -> Mapping[str, Walk]:
        if self._table is None:
            self._table = load_walks(self._state)
        return self._table


def load_walks(state: Path) -> Mapping[str, Walk]:
    """Raises MeshwardError (MW3054) where the file is damaged."""
    kept = WALKS.read(state)
    return kept.walks if kept else {}
