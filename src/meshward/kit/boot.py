"""A time by two clocks: one that people and networks set, and one that counts since the machine was started."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from meshward.kit.clock import boot_clock, system_clock

_BOOT = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Moment:
    """A time by two clocks: the wall's, and the one that counts since `boot` began."""

    wall: float
    boot: str
    uptime: float

    @classmethod
    def now(cls) -> Moment:
        return cls(system_clock(), _boot_id(), boot_clock())

    def before(self, seconds: float) -> Moment:
        return Moment(self.wall - seconds, self.boot, self.uptime - seconds)

    def same_boot(self, other: Moment) -> bool:
        return self.boot != "" and self.boot == other.boot

    def seconds_until(self, later: Moment) -> float | None:
        """None where that cannot be known: by the one clock that both have, `later` comes first."""
        passed = later.uptime - self.uptime if self.same_boot(later) else later.wall - self.wall
        return passed if passed >= 0 else None


@cache
def _boot_id() -> str:
    """Empty where the machine does not say: then only the wall clock counts, as between two boots."""
    try:
        return _BOOT.read_text().strip()
    except OSError:
        return ""
