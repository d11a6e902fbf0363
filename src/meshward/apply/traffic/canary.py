"""A canary: a version's share grows step by step, and goes back by itself when it fails. Pure.

`next_action` says from a canary, from what its step has seen, and from the time, what is to be done;
`canary_runner` does it. People read of it as a walk.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from math import gcd

from meshward.targets.envoy.counts import Counts

GONE = 5.0  # seconds without a guard, or without a healthy server behind it
_MOST = 100_000  # of one weight, as the policy's format has it
_FINE = 10_000  # the sum of weights that cannot be exact


class CanaryState(StrEnum):
    """The first two are not over."""

    RUNNING = "running"
    BACKING = "walking back"
    DONE = "done"
    BACK = "walked back"
    ENDED = "ended"  # where it was: by a person, or because somebody else changed the weights


@dataclass(frozen=True, slots=True)
class Canary:
    """What must be remembered over a restart. `every` in seconds, `bound` in percent, `began` since the epoch."""

    model: str
    version: str
    author: str
    before: Mapping[str, int]  # the weights to go back to
    steps: tuple[int, ...]  # percent, rising
    every: int
    bound: float
    least: int  # requests that a step must have seen before anything is concluded
    began: float
    step: int = 0
    applied: bool = False  # whether the weights of `step` are known to be live
    state: CanaryState = CanaryState.RUNNING
    why: str = ""

    @property
    def is_over(self) -> bool:
        return self.state not in (CanaryState.RUNNING, CanaryState.BACKING)

    @property
    def share(self) -> int:
        return self.steps[self.step]

    @property
    def title(self) -> str:
        return f"walk of {self.version}, step {self.step + 1} of {len(self.steps)}: {self.share}%"

    @property
    def sentence(self) -> str:
        """For people: where it is, or what became of it."""
        if self.is_over:
            return f"last walk, of {self.version}: {self.why}"
        return self.title if self.state is CanaryState.RUNNING else f"walk of {self.version}: {self.why}"

    def weights(self) -> dict[str, int]:
        """Of this step."""
        return weights_at(self.before, self.version, self.share)

    def weights_before(self) -> dict[str, int]:
        """From which this step is entered."""
        if self.step == 0:
            return dict(self.before)
        return weights_at(self.before, self.version, self.steps[self.step - 1])


@dataclass(frozen=True, slots=True)
class Observation:
    """What a step has seen since it `began` (monotonic seconds). `last` is the guard's latest answer."""

    began: float
    counts: Counts = field(default_factory=Counts)
    last: Counts | None = None
    gone_since: float | None = None
    illness: str = ""


@dataclass(frozen=True, slots=True)
class Wait:
    """Look again later."""

    why: str


@dataclass(frozen=True, slots=True)
class Onward:
    """The step has passed: the next one, or the end."""


@dataclass(frozen=True, slots=True)
class Back:
    """To the weights from before the canary."""

    why: str


Action = Wait | Onward | Back


def add_reading(seen: Observation, reading: Counts | None, illness: str | None, now: float) -> Observation:
    """After another look: the guard's counters (None: it does not answer), and what ails it, if anything does."""
    if reading is not None:
        more = reading.since(seen.last) if seen.last is not None else Counts()
        seen = replace(seen, counts=seen.counts + more, last=reading)
    if illness is None:
        return replace(seen, gone_since=None, illness="")
    return replace(seen, gone_since=now if seen.gone_since is None else seen.gone_since, illness=illness)


def next_action(canary: Canary, seen: Observation, now: float) -> Action:
    """What follows from what the step has seen by `now` (monotonic seconds)."""
    requests, failed = seen.counts.requests, seen.counts.failed
    at = f"walked back at {canary.share}%"
    if seen.gone_since is not None and now - seen.gone_since >= GONE:
        return Back(f"{at}: {seen.illness}, for {now - seen.gone_since:.0f} s")
    if requests >= canary.least and failed * 100 > canary.bound * requests:
        rate = f"{failed * 100 / requests:.1f}%"
        return Back(f"{at}: {failed} of {requests} requests failed ({rate}), bound {canary.bound:g}%")
    if seen.gone_since is not None:
        return Wait(seen.illness)
    left = canary.every - (now - seen.began)
    if left > 0:
        return Wait(f"{_span(left)} left")
    if requests < canary.least:
        return Wait(f"its time is over, but it has seen {requests} of {canary.least} requests")
    return Onward()


def weights_at(before: Mapping[str, int], version: str, share: int) -> dict[str, int]:
    """Weights with `share` percent for `version`; the others keep their proportion. Raises ValueError: no others.

    Small exact integers where there are any, parts of 100 if possible; else parts of 10,000, none of them lost.
    """
    others = {name: weight for name, weight in before.items() if name != version and weight > 0}
    if share == 100:
        return {**dict.fromkeys(others, 0), version: 100}
    if not others:
        raise ValueError("there is no other version to share with")
    exact = {name: weight * (100 - share) for name, weight in others.items()}
    exact[version] = sum(others.values()) * share
    return _small({name: exact[name] for name in (*others, version)})


def shares(weights: Mapping[str, int]) -> dict[str, float]:
    """In percent."""
    total = sum(weights.values())
    return {version: weight * 100 / total for version, weight in weights.items()}


def _small(exact: Mapping[str, int]) -> dict[str, int]:
    divisor = gcd(*exact.values())
    reduced = {name: weight // divisor for name, weight in exact.items()}
    total = sum(reduced.values())
    if 100 % total == 0:
        return {name: weight * (100 // total) for name, weight in reduced.items()}
    if max(reduced.values()) <= _MOST:
        return reduced
    return {name: max(1, round(weight * _FINE / total)) for name, weight in reduced.items()}


def _span(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
