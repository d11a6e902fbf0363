"""How far the store got, kept in a second place: what was consumed and is not in the store is missed.

The log lines behind a record are erased, so a store that lost its journal, was put back from a copy, emptied,
swapped or edited tells nothing of what it lacks. After each commit the same numbers stand in the store and in
`records.json` beside it, and only then are lines erased. It proves nothing against an owner who edits both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from zlib import crc32

from meshward.kit.clock import moment
from meshward.kit.statefile import StateFile

HOUR = 3600
OLDER, GONE, ANOTHER, ALTERED, UNPROVEN = "older", "gone", "another", "altered", "unproven"
SET_BACK = "set back"


@dataclass(frozen=True, slots=True)
class Mark:
    """How far which store once was: what the supervisor remembers of it, away from both of the collector's files."""

    store: str
    commits: int
    at: float  # of the last of them

    def lies_ahead_of(self, found: Anchor) -> bool:
        return self.store != found.store or self.commits > found.commits


@dataclass(frozen=True, slots=True)
class Anchor:
    """What a store holds after so many commits. `lines`: read so far, by log; `rows`: kept now, by kind of row."""

    store: str
    begun: float
    commits: int
    at: float  # of the last commit
    lines: Mapping[str, int]
    rows: Mapping[str, int]
    check: int  # over all rows

    @property
    def mark(self) -> Mark:
        return Mark(self.store, self.commits, self.at)


ANCHOR = StateFile(
    "records.json",
    Anchor,
    "STATE",
    "how far records were kept, so that lost ones are missed",
    "Remove it: the collector writes it anew, and notes that until then nobody can tell whether records were lost.",
    renewed=True,
)


@dataclass(frozen=True, slots=True)
class Loss:
    """Something that was kept and is not there, or may not be. `counts`: of lines by log, or of rows by kind."""

    noticed: float
    since: float
    until: float
    why: str
    counts: Mapping[str, int]

    @property
    def sentence(self) -> str:
        """For people."""
        told = " and ".join(f"{count} of {name}" for name, count in self.counts.items() if count)
        between = f"between {moment(self.since)} and {moment(self.until)}"
        if self.why == UNPROVEN:
            return f"{_WHY[UNPROVEN]}: whether any were lost {between} cannot be told"
        if self.why == SET_BACK:
            return f"{_WHY[SET_BACK]}: what was kept until {moment(self.until)} may not be in the store"
        if self.why == ALTERED:
            return f"{_WHY[ALTERED]}: what was kept {between} is not as it was ({told or 'its contents'})"
        return f"{_WHY.get(self.why, self.why)}: {told or 'no'} lines, read {between}, are not in the store"


_WHY = {
    OLDER: "the records were put back, or their last part was lost",
    GONE: "the records were gone, and began anew",
    ANOTHER: "the records are another store's than those that were kept here",
    ALTERED: "the records were edited",
    SET_BACK: "the records and STATE/records.json were gone, put back, or another store's, both alike",
    UNPROVEN: "STATE/records.json was gone, damaged, or older than the records",
}


@dataclass(slots=True)
class Changed:
    """What a transaction does to the rows, by kind and hour: how many more, and how their check sum moves."""

    rows: dict[tuple[str, int], int] = field(default_factory=dict)
    check: dict[tuple[str, int], int] = field(default_factory=dict)

    def add(self, kind: str, at: float, rows: int = 1, check: int = 0) -> None:
        key = kind, int(at) // HOUR
        self.rows[key] = self.rows.get(key, 0) + rows
        self.check[key] = self.check.get(key, 0) + check


def check_of(*columns: str | float | None) -> int:
    """A row's share of the check sum: against damage and carelessness, not against whoever means harm."""
    return crc32(ascii(columns).encode())


def advance(before: Anchor, at: float, lines: Mapping[str, int], changed: Changed) -> Anchor:
    """What stands after one more commit."""
    read, rows = dict(before.lines), dict(before.rows)
    for source, count in lines.items():
        read[source] = read.get(source, 0) + count
    for (kind, _), count in changed.rows.items():
        rows[kind] = rows.get(kind, 0) + count
    rows = {kind: count for kind, count in rows.items() if count}
    check = before.check + sum(changed.check.values())
    return Anchor(before.store, before.begun, before.commits + 1, at, read, rows, check)


def missed(anchor: Anchor | None, found: Anchor, now: float) -> Loss | None:
    """What the store, which says that it is at `found`, lacks of what was anchored.

    A commit comes before its anchor, so a store may be one ahead.
    """
    if anchor is None:
        return Loss(now, found.begun, now, UNPROVEN, {}) if found.commits > 1 else None
    if anchor.store != found.store:
        why = ANOTHER if found.commits else GONE
        return Loss(now, anchor.begun, anchor.at, why, anchor.lines)
    if anchor.commits > found.commits:
        counts = {name: count - found.lines.get(name, 0) for name, count in anchor.lines.items()}
        return Loss(now, found.at, anchor.at, OLDER, _positive(counts))
    if anchor.commits < found.commits - 1:
        return Loss(now, anchor.at, found.at, UNPROVEN, {})
    if anchor.commits == found.commits and anchor != found:
        counts = {name: count - found.rows.get(name, 0) for name, count in anchor.rows.items()}
        return Loss(now, found.begun, found.at, ALTERED, _positive(counts))
    return None


def altered(kept: Changed, counted: Changed, now: float) -> Loss | None:
    """What differs between the rows that the store says it keeps and those that it has."""
    keys = {*kept.rows, *counted.rows}
    wrong = {
        key: abs(kept.rows.get(key, 0) - counted.rows.get(key, 0))
        for key in sorted(keys)
        if (kept.rows.get(key, 0), kept.check.get(key, 0))
        != (counted.rows.get(key, 0), counted.check.get(key, 0))
    }
    if not wrong:
        return None
    counts: dict[str, int] = {}
    for (kind, _), count in wrong.items():
        counts[kind] = counts.get(kind, 0) + count
    hours = [hour for _, hour in wrong]
    return Loss(now, min(hours) * HOUR, (max(hours) + 1) * HOUR, ALTERED, counts)


def difference(kept: Changed, counted: Changed) -> Changed:
    """What makes of `kept` what was `counted`."""
    found = Changed(dict(counted.rows), dict(counted.check))
    for (kind, hour), rows in kept.rows.items():
        found.add(kind, hour * HOUR, -rows, -kept.check[kind, hour])
    return found


def _positive(counts: Mapping[str, int]) -> dict[str, int]:
    return {name: count for name, count in counts.items() if count > 0}
