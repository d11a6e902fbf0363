"""STATE/revocations.json: who and what was revoked, until when. A damaged file stops a start: it named somebody."""

from __future__ import annotations

from pathlib import Path

from meshward.callers.revocations import REVOCATIONS, Revoked


def load_revocations(state: Path) -> Revoked:
    """Raises MeshwardError (MW2032) where the file is damaged."""
    return REVOCATIONS.read(state) or Revoked()


def save_revocations(state: Path, revoked: Revoked) -> None:
    """Raises OSError."""
    REVOCATIONS.write(state, revoked)
