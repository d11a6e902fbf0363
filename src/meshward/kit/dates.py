"""Moments as people write them."""

from __future__ import annotations

from datetime import UTC, datetime

LATEST = 253_402_300_799
"""The last second that a calendar can tell. The day 9999-12-31 ends one later."""


def calendar(at: float) -> datetime:
    """`at` in UTC, or the last moment that there is a date for: also a policy's date may be later."""
    return datetime.fromtimestamp(min(at, LATEST), UTC)
