"""STATE/credentials.json: since when each server's key is the one it is. It holds no key, and nothing made of one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from meshward.kit.statefile import StateFile, put_under


@dataclass(frozen=True, slots=True)
class CredentialAge:
    """`name` as in the policy, or `<model>/<version>` of a generated one. Times in seconds since the epoch.

    `next` is when it is read again unasked; None: when its file changes, or never. `problem`: why the last reading
    failed, so that the older key stays; else empty.
    """

    name: str
    source: str
    since: float
    next: float | None
    problem: str


@dataclass(frozen=True, slots=True)
class CredentialAges:
    credentials: tuple[CredentialAge, ...]


CREDENTIALS = StateFile(
    "credentials.json",
    CredentialAges,
    place="STATE",
    what="since when each server's key is the one it is (no key)",
    remedy="Remove it: it is for `status` alone, and written anew at a start and when a key changes.",
    renewed=True,
    migrations=(put_under("credentials"),),
)


def save_ages(state: Path, ages: Iterable[CredentialAge]) -> None:
    """Raises OSError."""
    CREDENTIALS.write(state, CredentialAges(tuple(ages)))


def credential_ages(state: Path) -> tuple[CredentialAge, ...]:
    """What the instance last wrote down; nothing where it never did. Raises MeshwardError."""
    kept = CREDENTIALS.read(state)
    return kept.credentials if kept else ()
