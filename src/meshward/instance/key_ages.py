"""What `status` says of keys and certificates: how old, until when, replaced when, and what is wrong with one."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path

from meshward.apply.counters import load_counters
from meshward.apply.edge_certificate import from_files
from meshward.apply.keys.inventory import Age, load_failures, read_ages, told_failure
from meshward.instance.running_policy import load_running_plan
from meshward.kit.clock import to_second
from meshward.kit.errors import MeshwardError
from meshward.plan.ir import Plan
from meshward.runtime.place.directories import Run, State, run_path

_DAY = 86400.0


@dataclass(frozen=True, slots=True)
class KeyStatus:
    """`findings` are sentences with their remedies; empty: every key is in its time."""

    ages: tuple[Age, ...]
    findings: tuple[str, ...]

    def lines(self, now: float) -> Iterator[str]:
        """Of each kind the one that ends first; then what is wrong."""
        for what, group in groupby(self.ages, key=lambda age: age.what):
            ages = list(group)
            first = min(ages, key=lambda age: age.ends or age.alarm)
            name = first.name if len(ages) == 1 else f"{len(ages)}, first {first.name}"
            yield f"{what} ({name}): {_describe_age(first, now)}"
        yield from (f"KEYS: {finding}" for finding in self.findings)


def keys_of(state: State) -> KeyStatus:
    """Of the instance that runs on `state`: read from what its hops have. What cannot be read is a finding."""
    now, failed = time.time(), tuple[str, ...]()
    try:
        failed = tuple(
            f"{what} could not be replaced, and is tried again: {each.why}"
            for what, each in load_failures(state.path).items()
        )
        plan = load_running_plan(state)
        if plan is None:
            return KeyStatus((), failed)
        failed += tuple(why for why in _files_now(plan) if not any(why in told for told in failed))
        ages: Sequence[Age] = sorted(
            read_ages(state.path, Run(run_path(state)), plan, load_counters(state.path).slots),
            key=lambda age: (age.what, age.name),
        )
    except MeshwardError as error:
        return KeyStatus((), (*failed, f"the keys cannot be looked at: {error.message}. {error.remedy}"))
    except (OSError, ValueError, KeyError) as error:
        why = f"{type(error).__name__}: {error}"
        return KeyStatus((), (*failed, f"the keys cannot be looked at: {why}"))
    return KeyStatus(tuple(ages), (*filter(None, (age.finding(now) for age in ages)), *failed))


def _files_now(plan: Plan) -> Iterator[str]:
    """What is wrong with the files of the edge's certificate, as they are at this moment."""
    if plan.edge.certificate_path is None:
        return
    try:
        from_files(Path(plan.edge.certificate_path), plan.edge.hostname, datetime.now(UTC))
    except MeshwardError as error:
        yield told_failure(error)


def _describe_age(age: Age, now: float) -> str:
    if age.fault:
        return age.fault
    line = f"{_span(now - age.begins)} old"
    if age.ends is not None:
        line += f", ends {to_second(age.ends)}"
    if age.rotates is None:
        return line + ", replaced when its files are"
    return line + f", replaced in {_span(age.rotates - now)}"


def _span(seconds: float) -> str:
    if seconds < 7200:
        return f"{max(seconds, 0) / 60:.0f} min"
    return f"{seconds / 3600:.0f} h" if seconds < 2 * _DAY else f"{seconds / _DAY:.0f} d"
