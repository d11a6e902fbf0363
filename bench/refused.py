"""What it costs to refuse somebody who is known: CPU beside good requests, and bytes of records."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, field, replace
from functools import partial

from bench.figures import Sample, middle, shown, spread
from bench.load import Target
from bench.processes import Meter, wait_for
from bench.report import prose, table
from bench.whole import Whole
from meshward.audit.flat import read
from meshward.audit.records import FILE

POOR = "eve"  # who may nothing
Answers = dict[str, int]
Flood = Callable[[Answers], AbstractContextManager[None]]


@dataclass
class Cost:
    """Microseconds of CPU per good request, by round; what was refused meanwhile, and what is kept of it."""

    without: list[float] = field(default_factory=list)
    beside: list[float] = field(default_factory=list)
    each: list[float] = field(default_factory=list)  # microseconds per refusal
    refused: int = 0
    records: int = 0
    kept: int = 0  # bytes


def cost(whole: Whole, target: Target, flood: Flood, rate: int, seconds: float, rounds: int) -> Cost:
    """`rounds` without the flood and with it, at `rate` good requests per second."""
    found, metered = Cost(), replace(target, meter=Meter(whole.roots()))
    for _ in range(rounds):
        quiet = metered.paced(rate, seconds)
        answers: Answers = {}
        before, of_before = metered.meter.read(), _kept(whole)
        with flood(answers):
            loud = metered.paced(rate, seconds)
        refused = sum(answers.values())
        wait_for(partial(_is_told, whole, of_before["told"] + refused), "records of all refusals")
        _add(found, quiet, loud, refused, _spent(metered, before))
        after = _kept(whole)
        found.records += after["records"] - of_before["records"]
        found.kept += after["bytes"] - of_before["bytes"]
    return found


def _add(found: Cost, quiet: Sample, loud: Sample, refused: int, spent: float) -> None:
    found.without.append(quiet.total())
    found.beside.append(loud.total())
    found.each.append((spent - quiet.total() * loud.requests) / refused)
    found.refused += refused


def _spent(target: Target, before: dict[str, int]) -> float:
    """Microseconds of all parts since `before`, what they did afterwards included."""
    target.meter.rest()
    now = target.meter.read()
    return sum(now[name] - before[name] for name in now) / 1e3


def _is_told(whole: Whole, number: int) -> bool:
    return _kept(whole)["told"] >= number


def _kept(whole: Whole) -> Counter[str]:
    """Of the refused person: records, their bytes, and the refusals of which they tell."""
    with closing(sqlite3.connect(f"file:{whole.state / FILE}?mode=ro", uri=True)) as db:
        rows = db.execute("SELECT edge FROM records WHERE subject = ?", (f"test:{POOR}",)).fetchall()
    told = sum(int(read(text.encode())["n"] or 1) for (text,) in rows)
    return Counter(records=len(rows), bytes=sum(len(text) for (text,) in rows), told=told)


def lines(found: Cost, seconds: float) -> list[str]:
    time = seconds * len(found.each)
    row = [
        *(shown(f(values)) for values in (found.without, found.beside, found.each) for f in (middle, spread)),
        f"{found.refused:,}",
        f"{found.records:,}",
        shown(found.kept / max(found.refused, 1)),
        shown(found.kept / time / 1e3),
    ]
    head = ["CPU us per good request", "+-", "beside the flood", "+-", "CPU us per refusal", "+-"]
    return [
        *table(
            [*head, "refused", "records", "bytes of records per refusal", "kB of records per second"], [row]
        ),
        "",
        *prose(
            "Refusals of one person who may nothing. CPU is of all parts: per good request what they took in all, the",
            "flood's part included; per refusal what remains of it without the good requests. Each refusal is in a",
            "record, or in the count of one: the run waits until they add up.",
        ),
    ]
