"""How far two clocks, or an end and a clock, are apart, in the words of all who say so. Pure: time is a parameter."""

from __future__ import annotations

NTP = "see that NTP runs on both machines"
LATE = 300
"""Seconds after an end within which a clock that is ahead is as likely as a credential that is old."""

_DAY = 86400


def until(instant: int, now: float) -> int:
    """Whole seconds from `now` to `instant`, negative if it is past. Of integers: a claim may have any size."""
    return instant - int(now)


def spelled(seconds: int) -> str:
    """`seconds`, without a sign, for a sentence of bounded length."""
    return f"{abs(seconds)} s" if abs(seconds) <= _DAY else "more than a day"
