"""STATE/walks.json: each model's canary, running or the last one. A restarted instance goes on from here."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from meshward.apply.traffic.canary import Canary, Observation
from meshward.apply.traffic.told import ToldAnswers
from meshward.kit import codes
from meshward.kit.statefile import StateFile, put_under


@dataclass(frozen=True, slots=True)
class KeptCanaries:
    """By model, under the name that the file has had from the beginning."""

    walks: Mapping[str, Canary]


CANARIES = StateFile(
    "walks.json",
    KeptCanaries,
    place="STATE",
    what="each model's walk: running, or the last one",
    remedy=codes.WALKS_DAMAGED.remedy,
    code=codes.WALKS_DAMAGED,
    migrations=(put_under("walks"),),
)


class CanaryStore:
    """The canaries of one state. To be changed with `lock` held, and only by the process that holds STATE/lock.

    `seen` and `says` are what the running ones see and wait for, `told` what records tell of versions that have no
    guard here; they are not kept.
    """

    def __init__(self, state: Path) -> None:
        self.lock = threading.RLock()
        self.seen: dict[str, Observation] = {}
        self.says: dict[str, str] = {}
        self.told: dict[str, ToldAnswers] = {}
        self.runner: threading.Thread | None = None
        self._state = state
        self._table: Mapping[str, Canary] | None = None

    def of(self, model: str) -> Canary | None:
        """Raises MeshwardError (MW3054) where the file is damaged."""
        return self._all().get(model)

    def running(self) -> list[Canary]:
        return [canary for canary in self._all().values() if not canary.is_over]

    def put(self, canary: Canary) -> Canary:
        """Durably. Raises OSError: then nothing has changed."""
        with self.lock:
            table = {**self._all(), canary.model: canary}
            CANARIES.write(self._state, KeptCanaries(table))
            self._table = table
            return canary

    def _all(self) -> Mapping[str, Canary]:
        if self._table is None:
            self._table = load_canaries(self._state)
        return self._table


def load_canaries(state: Path) -> Mapping[str, Canary]:
    """Raises MeshwardError (MW3054) where the file is damaged."""
    kept = CANARIES.read(state)
    return kept.walks if kept else {}
