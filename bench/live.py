"""Changes under load: applies, canary steps, rotations; what they cost requests and streams, and how long they take."""

from __future__ import annotations

import copy
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.busy import SPLIT, Busy, Size, busy
from bench.figures import Verdict, middle, shown
from bench.processes import BenchError
from bench.report import Section, prose, say, table
from bench.scale import scale

SIZE = Size(models=20, rate=300, streams=50, keyed=True)
APPLIES, STEPS, ROTATIONS, RELOADS = 100, 20, 20, 5
KEYS = ("svids", "ca", "signing-key", "edge-certificate", "credential")


@dataclass(slots=True)
class Phase:
    """One kind of change, done many times while the load went on. `took` in milliseconds."""

    what: str
    took: list[float] = field(default_factory=list)
    requests: int = 0
    failed: int = 0
    closed: int = 0
    cut: int = 0
    why: Counter[str] = field(default_factory=Counter)

    def count(self, seen: dict[str, Any]) -> None:
        for name in ("requests", "failed", "closed", "cut"):
            setattr(self, name, getattr(self, name) + seen[name])
        self.why.update(seen["why"])

    @property
    def late(self) -> float:
        """The 99th percentile, or the worst of fewer than a hundred."""
        return sorted(self.took)[min(len(self.took) * 99 // 100, len(self.took) - 1)]

    def cells(self) -> list[str]:
        times = [shown(middle(self.took)), shown(self.late)]
        why = ", ".join(f"{name} {count}" for name, count in self.why.most_common(3))
        return [
            self.what,
            str(len(self.took)),
            *times,
            str(self.requests),
            str(self.failed),
            str(self.cut),
            why,
        ]


def measure(directory: Path, rounds: int) -> Section:
    with busy(directory, SIZE) as instance:
        phases = [_applies(instance), _steps(instance), *(_rotations(instance, k) for k in KEYS)]
        reloads = _reloads(instance)
    applied = phases[0]
    verdicts = [
        Verdict("failed requests, all changes", sum(phase.failed for phase in phases), 0, ""),
        Verdict("cut streams, all changes", sum(phase.cut for phase in phases), 0, ""),
        Verdict("apply to enforced at both hops, p50", middle(applied.took), 300, "ms"),
        Verdict("apply to enforced at both hops, p99", applied.late, 1000, "ms"),
        *scale(directory, rounds),
    ]
    head = ["change", "times", "p50 ms", "p99 ms", "requests meanwhile", "failed", "streams cut", "why"]
    return Section("live", "Changes under load", [
        *table(["what", "target", "measured", "verdict"], [verdict.cells() for verdict in verdicts]),
        "",
        *table(head, [phase.cells() for phase in (*phases, reloads)]),
        "",
        *prose(
            f"{SIZE.models} models ({SIZE.models + 1} guards) under {SIZE.rate} requests/s of 5 callers to all,",
            f"over 16 connections, beside {SIZE.streams} open streams with an event each 0.5 s. Times are by the",
            "clock, from the question to the instance until the first answer under the new rules (applies) or until",
            "every hop has reported (the others). Each apply changes who may do what; ten of them change the routes",
            "at every guard as well, and four times a model comes with its guard, and goes. The last row is apart:",
            f"what only a reload of nginx can change, here a new rate. Of its failures {reloads.closed} were requests",
            "on a kept connection that nginx closed just then, which clients with retries send again.",
        ),
        "",
        *prose(
            "The plan of 1,000 models, 1,000 grants and 50 roles: text to policy, plan, tests and laws, what changes",
            "against the one before, and the files of 64 guards, without any proxy; medians. Token and decision are",
            "those of a caller with one role there, beside the same with 3 models; alternated, CPU time.",
        ),
    ])  # fmt: skip


def _phase(instance: Busy, what: str, changes: list[Callable[[], float]]) -> Phase:
    """Each of `changes` returns the milliseconds that it took."""
    phase = Phase(what)
    instance.mark()
    for number, change in enumerate(changes, 1):
        phase.took.append(change())
        if number % 10 == 0:
            say(f"{what} {number}/{len(changes)}: {phase.took[-1]:.0f} ms")
    phase.count(instance.mark())
    time.sleep(1)  # what the last one broke is counted here
    phase.count(instance.mark())
    return phase


def _applies(instance: Busy) -> Phase:
    def change(number: int) -> float:
        text = _changed(instance, number)
        gains = number % 2 == 1
        began = time.monotonic()
        instance.apply(text)
        answered = instance.status(f"sam{number}", "sales", "m01")
        took = (time.monotonic() - began) * 1e3
        if answered != (200 if gains else 403):
            raise BenchError(f"after apply {number} the next request was answered {answered}")
        return took

    phase = _phase(instance, "apply", [lambda n=n: change(n) for n in range(1, APPLIES + 1)])  # type: ignore[misc]
    instance.apply(instance.text)
    return phase


def _changed(instance: Busy, number: int) -> dict[str, Any]:
    """The policy of apply `number`: sales gain and lose in turn; sometimes guards and models change as well."""
    changed = copy.deepcopy(instance.text)
    if number % 2:
        changed["grants"].append({"id": "sales", "roles": ["sales"], "models": ["m01"], "actions": ["infer"]})
    if number % 20 == 5:
        changed["servers"]["mock"]["describe"] = ["GET /info"]  # at every guard, until the next apply
    if number % 25 == 10:
        changed["models"]["more"] = {
            "versions": {"v1": {"server": "mock", "url": instance.url(instance.size.models)}}
        }
    return changed


def _steps(instance: Busy) -> Phase:
    def step(number: int) -> float:
        began = time.monotonic()
        canary = number * 100 // STEPS
        weights = {"v1": 100 - canary, "v2": canary}
        instance.change({"do": "traffic", "model": SPLIT, "weights": weights, "reason": "bench"})
        return (time.monotonic() - began) * 1e3

    return _phase(instance, "canary step", [lambda n=n: step(n) for n in range(1, STEPS + 1)])  # type: ignore[misc]


def _rotations(instance: Busy, key: str) -> Phase:
    def rotate(number: int) -> float:
        named = {"name": "bench", "value": f"secret-{number}"} if key == "credential" else {}
        began = time.monotonic()
        instance.change({"do": "rotate", "what": key, **named})
        return (time.monotonic() - began) * 1e3

    return _phase(instance, f"rotate {key}", [lambda n=n: rotate(n) for n in range(ROTATIONS)])  # type: ignore[misc]


def _reloads(instance: Busy) -> Phase:
    def reload(number: int) -> float:
        changed = copy.deepcopy(instance.text)
        changed["grants"][1]["limits"]["requests"] = f"{30_000 + number}/s"  # a rate that no zone has
        began = time.monotonic()
        instance.apply(changed)
        return (time.monotonic() - began) * 1e3

    return _phase(instance, "apply that reloads nginx", [lambda n=n: reload(n) for n in range(RELOADS)])  # type: ignore[misc]
