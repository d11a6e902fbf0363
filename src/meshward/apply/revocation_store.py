"""STATE/revocations.json: who and what was revoked, until when. A damaged file stops a start: it named somebody."""

from __future__ import annotations

from pathlib import Path

from meshward.callers.revocations import FILE, Revoked, load_revoked, save_text
from meshward.kit.durable import write_atomic


def load_revocations(state: Path) -> Revoked:
    """Raises MeshwardError (MW2032) where the file is damaged."""
    return load_revoked(state)


def save_revocations(state: Path, revoked: Revoked) -> None:
    write_atomic(state / FILE, save_text(revoked))
