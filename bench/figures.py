"""The arithmetic: medians of alternated rounds, what one side costs more than the other, is it within a target."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True, slots=True)
class Sample:
    """One run of load. `cpu` is microseconds of CPU time per request, by process; latencies in milliseconds, or nan."""

    requests: int
    seconds: float
    cpu: Mapping[str, float]
    p50: float = math.nan
    p99: float = math.nan

    @property
    def rate(self) -> float:
        """Requests per second."""
        return self.requests / self.seconds

    def total(self, *names: str) -> float:
        """Microseconds per request of these processes together; of all of them without a name."""
        return sum(value for name, value in self.cpu.items() if not names or name in names)


@dataclass(frozen=True, slots=True)
class Verdict:
    """A measured number beside the most (or, with `least`, the least) that it may be; `off` is its spread, if known."""

    name: str
    measured: float
    target: float
    unit: str
    least: bool = False
    off: float = math.nan

    @property
    def met(self) -> bool:
        return self.measured >= self.target if self.least else self.measured <= self.target

    def cells(self) -> list[str]:
        bound = ">=" if self.least else "<="
        return [
            self.name,
            f"{bound} {self.target:g} {self.unit}".strip(),
            " ".join(filter(None, [shown(self.measured), self.unit, self._off()])),
            "met" if self.met else "**missed**",
        ]

    def _off(self) -> str:
        return "" if math.isnan(self.off) else f"(+- {shown(self.off)})"


def middle(values: Iterable[float]) -> float:
    """The median. Raises StatisticsError for no values."""
    return median(values)


def spread(values: Sequence[float]) -> float:
    """Half the distance between the first and third quartile: how far a round usually is from the median."""
    if len(values) < 2:
        return 0.0
    ordered = sorted(values)
    half = len(ordered) // 2
    return (median(ordered[-half:]) - median(ordered[:half])) / 2


def ratio(of: Sequence[float], to: Sequence[float]) -> float:
    """The ratio of the medians of two alternated series."""
    return middle(of) / middle(to)


def more(of: Sequence[float], than: Sequence[float]) -> float:
    """The difference of the medians of two alternated series."""
    return middle(of) - middle(than)


def ratio_spread(of: Sequence[float], to: Sequence[float]) -> float:
    """How far the ratio within one round usually is from the middle one: both sides of a round met the same machine."""
    return spread([one / other for one, other in zip(of, to, strict=True)])


def more_spread(of: Sequence[float], than: Sequence[float]) -> float:
    """How far the difference within one round usually is from the middle one."""
    return spread([one - other for one, other in zip(of, than, strict=True)])


def steps(ladder: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """What each rung adds to the one before it, by medians; the first rung as it is. The steps sum to the last rung."""
    result: dict[str, float] = {}
    below = 0.0
    for name, values in ladder.items():
        here = middle(values)
        result[name] = here - below
        below = here
    return result


def shown(value: float) -> str:
    """Three digits that mean something; nothing for nan."""
    if math.isnan(value):
        return ""
    if abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
