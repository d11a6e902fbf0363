"""STATE/credentials.json: since when each server's key is the one it is. It holds no key, and nothing made of one."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from meshward.kit.durable import write_atomic

FILE = "credentials.json"


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


def save_ages(state: Path, ages: Iterable[CredentialAge]) -> None:
    """Raises OSError."""
    write_atomic(state / FILE, json.dumps([asdict(age) for age in ages], indent=1))


def credential_ages(state: Path) -> tuple[CredentialAge, ...]:
    """What the instance last wrote down; nothing where it never did."""
    try:
        return tuple(CredentialAge(**each) for each in json.loads((state / FILE).read_text()))
    except (OSError, ValueError, TypeError):
        return ()
