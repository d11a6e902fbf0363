"""Time as a value that is passed in, so that decisions and tests do not depend on when they run."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

from meshward.kit.dates import calendar

Clock = Callable[[], float]
"""Returns seconds since the Unix epoch."""

system_clock: Clock = time.time


def boot_clock() -> float:
    """Seconds that never go back, and go on while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def to_second(at: float) -> str:
    """`at` for people, in UTC, to the second."""
    return f"{calendar(at):%Y-%m-%d %H:%M:%SZ}"


def moment(at: float) -> str:
    """`at` for people, in UTC, to the millisecond: as records have it."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
