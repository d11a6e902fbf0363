"""STATE/ejected.json: the versions that get no requests just now, `<model>/<version>`, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from meshward.kit.statefile import StateFile, put_under


@dataclass(frozen=True, slots=True)
class Ejected:
    """`<model>/<version>` -> why."""

    ejected: Mapping[str, str]


EJECTED = StateFile(
    "ejected.json",
    Ejected,
    place="STATE",
    what="which versions get no requests because their servers are ill",
    remedy="Remove it: it is for `status` alone, and written anew when a server falls ill or is well again.",
    renewed=True,
    migrations=(put_under("ejected"),),
)


def save_ejected(state: Path, ejected: Mapping[str, str]) -> None:
    """Raises OSError."""
    EJECTED.write(state, Ejected(ejected))


def load_ejected(state: Path) -> Mapping[str, str]:
    """For people. Raises MeshwardError for a file that cannot be used."""
    kept = EJECTED.read(state)
    return kept.ejected if kept else {}
