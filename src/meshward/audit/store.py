"""Records in one SQLite file, and the log positions that they cover in the same transaction.

Write-ahead journal with `synchronous=FULL`: a committed batch survives power loss, and must, because the
raw lines behind it are erased right after. Readers never wait for the writer, nor the writer for them. One
process writes; a lock file says so.
"""

from __future__ import annotations

import errno
import json
import os
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import chain, repeat
from pathlib import Path
from typing import NamedTuple

from meshward.audit.anchor import HOUR, Changed, Loss, Mark, check_of
from meshward.audit.held import Footprint, Held, Recount, know_check
from meshward.audit.join import Record, arrange, record_id, seconds
from meshward.audit.lines import ChangeLine, EdgeLine, GuardLine
from meshward.audit.records import (
    FILE,
    Records,
    StoreDamaged,
    StoreUnwritable,
    connect,
    damage,
    is_damage,
    record_of,
)
from meshward.audit.retention import due, erase, forget_hours, give_back
from meshward.audit.tables import CHECK, SCHEMA, STEPS, VERSION, strange_in
from meshward.audit.tail import Position
from meshward.kit import codes
from meshward.kit.boot import Moment
from meshward.kit.clock import Clock, system_clock
from meshward.kit.durable import open_regular
from meshward.kit.errors import MeshwardError
from meshward.kit.lock import take

PATIENCE = 10.0
"""Seconds after which a half whose other half has not come is missing it."""
MAX_PER_RID = 16
"""Records that one request id can have: a caller who repeats an id cannot make its lookups slow."""
_CACHE = 8 * 1024  # KiB: all that a large batch changes, so that no page goes to the journal twice
_CHECKPOINT = 4_000  # pages in the journal: those of the index come often, and go into the file once
_PAGE = 4096  # bytes, about
_SMALL = 10_000  # pages, whose every index is compared with its table at the start: a fraction of a second
_COUNTED = 2_000  # rows at once: some ten milliseconds
_Place = tuple[int | None, float]  # a row's number, and when it was seen
_Row = tuple[str | float | None, ...]


class _Kept(NamedTuple):
    """A row that is there."""

    seq: int
    seen: float
    check: int
    record: Record


class StoreTouched(StoreDamaged):
    """Somebody else wrote to its files while we had them open, or took them away: nothing more goes into them."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(
            path, why, "none: the collector begins again with what is there, and notes what it lacks"
        )


@dataclass(slots=True)
class Batch:
    """What one transaction writes. Keys of the counters: (second, layer or log, reason)."""

    edges: list[EdgeLine] = field(default_factory=list)
    guards: list[GuardLine] = field(default_factory=list)
    changes: list[ChangeLine] = field(default_factory=list)
    refusals: Counter[tuple[int, str, str]] = field(default_factory=Counter)
    gaps: Counter[tuple[int, str, str]] = field(default_factory=Counter)
    positions: list[Position] = field(default_factory=list)
    gone: list[Position] = field(default_factory=list)
    lines: Counter[str] = field(default_factory=Counter)
    """How many were read, by log."""

    def __bool__(self) -> bool:
        return bool(self.positions or self.gone or self.gaps)


class Store(Records):
    """The store as its one writer sees it."""

    def __init__(
        self,
        state: Path,
        clock: Clock = system_clock,
        once: Mark | None = None,
        moment: Callable[[], Moment] = Moment.now,
    ) -> None:
        """Open or create STATE's records, and note what was kept and is not there. `once`: how far they once were.

        One of an older format becomes one of this, and keeps its records.

        Raises StoreDamaged, MeshwardError MW4002 (a newer format) and MW4003 (somebody else writes).
        """
        self.path = state / FILE
        self._lock = _lock(state / "records.lock")
        try:
            _make(self.path)
            with damage(self.path):
                self._db = connect(self.path, "rw")
                self._prepare()
            self._check_version()
            self._footprint = Footprint(self.path)
            self._held = Held(state, self._db, moment)
            with self._transaction():
                self.noticed = self._held.reckon(clock(), once)
            with suppress(OSError):  # the collector's first round says so
                self._held.save()
            with damage(self.path):
                self._recount = Recount(connect(self.path, "ro")) if self._held.counts_later else None
        except BaseException:
            os.close(self._lock)
            raise

    @staticmethod
    def read_only(state: Path) -> Records:
        """STATE's records for reading, whether or not somebody writes them. Raises as `Records` does."""
        return Records(state)

    def take_positions(self) -> list[tuple[Position, bool]]:
        """Every file's position, and whether all was read when the last collector stopped: told only once."""
        rows = self._query("SELECT source, inode, offset, mark, clean FROM positions")
        if any(row[4] for row in rows):
            with self._transaction():
                self._db.execute("UPDATE positions SET clean = 0")
        return [(Position(*row[:4]), bool(row[4])) for row in rows]

    def clock(self) -> float:
        """What the records' own clock shows now: what they age by, whatever the machine's clock says."""
        return self._held.clock()

    def write(self, batch: Batch, now: float, seen: float | None = None) -> None:
        """Everything of `batch`, or nothing; `seen` by the records' own clock. Raises StoreUnwritable, StoreDamaged."""
        seen = now if seen is None else seen
        changed = Changed()
        with self._transaction():
            gaps = batch.gaps.copy()
            gaps[(int(now), "records", "request_id_flood")] += self._join(batch, seen, changed)
            self._keep(batch.changes, seen, changed)
            self._count("refusals", "layer", batch.refusals, changed)
            self._count("gaps", "source", +gaps, changed)
            self._move(batch)
            self._held.move(now, batch.lines, changed)

    def anchor(self) -> None:
        """Write down in the second place how far the store is. Lines are erased after. Raises OSError."""
        self._held.save()

    def count_on(self, now: float) -> Loss | None:
        """Count some of what a start left to be counted; what it finds in the end. Raises StoreUnwritable."""
        counting = self._recount
        if counting is None:
            return None
        try:
            with damage(self.path):
                if counting.go_on(_COUNTED):
                    return None
        except MeshwardError:
            self._end_counting()  # half a count says nothing; the next start counts
            raise
        found = counting.found(now)
        if found is not None:
            with self._transaction():
                self._held.correct(*found, now)
        self._end_counting()
        return found[0] if found else None

    def end(self, before: float, now: float, counts_before: float | None = None) -> bool:
        """Erase some of the rows from before `before`, if there are any. Whether there were. Raises StoreUnwritable.

        `counts_before`: the same by the machine's clock.
        """
        with damage(self.path):
            ends = due(self._db, before, before if counts_before is None else counts_before)
        if not ends and self._held.idle < HOUR:
            return False
        changed = Changed()
        with self._transaction():
            for kind, end in ends.items():
                erase(self._db, kind, end, changed)
            self._held.move(now, {}, changed)
            forget_hours(self._db)
        if ends:
            self._give_back()
        return bool(ends)

    def settle(self, now: float) -> int:
        """Stop waiting for halves that should have come by `now`, of the records' own clock; how many.

        Raises StoreUnwritable.
        """
        late = (now - PATIENCE,)
        if not self._query("SELECT 1 FROM records WHERE waiting = 1 AND seen <= ? LIMIT 1", late):
            return 0
        with self._transaction():
            sql = "UPDATE records SET waiting = 0 WHERE waiting = 1 AND seen <= ?"
            return self._db.execute(sql, late).rowcount

    def probe(self) -> None:
        """Raise StoreUnwritable if a write could not begin now, StoreDamaged if somebody else was at the files."""
        with self._transaction():
            pass

    def close(self, *, clean: bool = False) -> None:
        """`clean`: everything in the logs was read."""
        if clean:
            with self._transaction():
                self._db.execute("UPDATE positions SET clean = 1")
        self._end_counting()
        self._db.close()
        os.close(self._lock)

    def _end_counting(self) -> None:
        if self._recount is not None:
            self._recount.close()
            self._recount = None

    def _prepare(self) -> None:
        know_check(self._db)
        self._db.execute(
            "PRAGMA auto_vacuum = INCREMENTAL"
        )  # of a new file: one that is there stays as it is
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT}")
        # A journal that grew while somebody read for long becomes short again: `size` counts all of it.
        self._db.execute(f"PRAGMA journal_size_limit = {2 * _CHECKPOINT * _PAGE}")
        self._db.execute(f"PRAGMA cache_size = -{_CACHE}")
        pages = self._db.execute("PRAGMA page_count").fetchone()[0]
        check = "integrity_check" if pages <= _SMALL else "quick_check"  # which leaves out the indexes
        verdict = self._db.execute(f"PRAGMA {check}(1)").fetchone()[0]
        if verdict != "ok":
            raise StoreDamaged(self.path, verdict)
        empty = not self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if empty:
            self._db.executescript(f"BEGIN; {SCHEMA} PRAGMA user_version = {VERSION}; COMMIT;")
        while (step := STEPS.get(version := self._version())) is not None:
            with self._db:
                self._db.execute("BEGIN IMMEDIATE")
                for statement in filter(str.strip, step.split(";\n")):
                    self._db.execute(statement)
                self._db.execute(f"PRAGMA user_version = {version + 1}")
        if version == VERSION and (odd := strange_in(self._db)):
            raise StoreDamaged(self.path, f"its tables are not as they were made: {', '.join(odd)}")

    def _give_back(self) -> None:
        self._require_untouched()
        try:
            with damage(self.path):
                give_back(self._db)
        finally:
            self._footprint.take()

    def _keep(self, changes: list[ChangeLine], seen: float, changed: Changed) -> None:
        rows = [(c.id, seconds(c.t), c.author, c.did, c.outcome, c.facts) for c in changes]
        changed.add("changes", seen, len(rows), sum(check_of(*row) for row in rows))
        self._db.executemany(
            "INSERT INTO changes (id, at, author, did, outcome, facts, seen) VALUES (?, ?, ?, ?, ?, ?, ?)",
            [(*row, seen) for row in rows],
        )

    def _join(self, batch: Batch, now: float, changed: Changed) -> int:
        """Place new lines among those already there under their ids. Returns how many found no room."""
        dropped = new = check = 0
        at_end: _Place = (None, now)
        rows: list[_Row] = []
        surplus: list[tuple[int]] = []
        groups = _by_rid(batch)
        there = self._there(groups)
        for rid, (edges, guards) in groups.items():
            known = there.get(rid, ())
            if known:
                edges = [*(each.record.edge for each in known if each.record.edge), *edges]
                guards = [*(each.record.guard for each in known if each.record.guard), *guards]
            records = arrange(rid, edges, guards)
            kept = records[:MAX_PER_RID]
            dropped += len(records) - len(kept)
            places: list[_Place] = [(each.seq, each.seen) for each in known]
            placed = list(map(_columns, kept, chain(places, repeat(at_end))))
            rows += placed
            if known:
                surplus += [(each.seq,) for each in known[len(kept) :]]
                _note(changed, known, placed)
            else:
                new += len(placed)
                check += sum(map(_check, placed))
        changed.add("records", now, new, check)
        self._db.executemany(_INSERT, rows)
        self._db.executemany("DELETE FROM records WHERE seq = ?", surplus)
        return dropped

    def _there(self, rids: Iterable[str]) -> dict[str, list[_Kept]]:
        """What there is of each of `rids` that has records: one question for all of them."""
        query = (
            f"SELECT rid, seq, seen, {CHECK['records']}, edge, guard, waiting, reused FROM records "  # noqa: S608
            "WHERE rid IN (SELECT value FROM json_each(?)) ORDER BY seq"
        )
        found: dict[str, list[_Kept]] = defaultdict(list)
        for rid, seq, seen, check, *rest in self._query(query, (json.dumps(list(rids)),)):
            found[rid].append(_Kept(seq, seen, check, record_of(rid, *rest)))
        return found

    def _count(self, table: str, where: str, counts: Counter[tuple[int, str, str]], changed: Changed) -> None:
        for key, count in counts.items():
            changed.add(table, key[0], count, count * check_of(*key))
        self._db.executemany(
            f"INSERT INTO {table} (second, {where}, reason, count) VALUES (?, ?, ?, ?) "  # noqa: S608
            "ON CONFLICT DO UPDATE SET count = count + excluded.count",
            [(*key, count) for key, count in counts.items()],
        )

    def _move(self, batch: Batch) -> None:
        self._db.executemany(
            "INSERT OR REPLACE INTO positions (source, inode, offset, mark, clean) VALUES (?, ?, ?, ?, 0)",
            [(p.source, p.inode, p.offset, p.mark) for p in batch.positions],
        )
        gone = [(p.source, p.inode) for p in batch.gone]
        self._db.executemany("DELETE FROM positions WHERE source = ? AND inode = ?", gone)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._require_untouched()
        try:
            self._db.execute("BEGIN IMMEDIATE")
            yield
            self._db.execute("COMMIT")
            self._held.committed()
        except sqlite3.DatabaseError as error:
            self._roll_back()
            if is_damage(error):
                raise StoreDamaged(self.path, str(error)) from error
            raise StoreUnwritable(self.path, error) from error
        except BaseException:
            self._roll_back()
            raise
        finally:
            self._footprint.take()

    def _roll_back(self) -> None:
        self._held.rolled_back()
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")

    def _require_untouched(self) -> None:
        """Raises StoreDamaged. A journal whose name is gone ends with us, so what is in it goes into the file first."""
        why = self._footprint.foreign()
        if why is None:
            return
        if self._footprint.journal_lost:
            with suppress(sqlite3.Error):
                self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        raise StoreTouched(self.path, why)


_INSERT = """
INSERT OR REPLACE INTO records (seq, seen, rid, at, waiting, missing, agrees, reused, subject, model, action,
    paid_by, status, refused_by, edge, guard) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""


def _columns(record: Record, place: _Place) -> _Row:
    facts = record.facts
    return (
        *place,
        record.rid,
        record.at,
        int(record.waiting),
        record.missing,
        int(record.agrees),
        int(record.reused),
        facts.sub,
        facts.model,
        facts.action,
        facts.grant,
        record.status,
        record.refused_by,
        record.edge.text if record.edge else None,
        record.guard.text if record.guard else None,
    )


def _check(row: _Row) -> int:
    """As `tables.CHECK` has it: all but its number and `waiting`."""
    return check_of(*row[1:4], *row[5:])


def _note(changed: Changed, known: Iterable[_Kept], placed: Iterable[_Row]) -> None:
    """Of rows that were there and get more: as they were, and as they are."""
    for each in known:
        changed.add("records", each.seen, -1, -each.check)
    for row in placed:
        changed.add("records", float(row[1] or 0), 1, _check(row))


def _by_rid(batch: Batch) -> dict[str, tuple[list[EdgeLine], list[GuardLine]]]:
    groups: dict[str, tuple[list[EdgeLine], list[GuardLine]]] = defaultdict(lambda: ([], []))
    for edge in batch.edges:
        groups[record_id(edge)][0].append(edge)
    for guard in batch.guards:
        groups[record_id(guard)][1].append(guard)
    return groups


def _make(path: Path) -> None:
    """An empty file where there is none. Raises StoreDamaged for what is no file, StoreUnwritable."""
    try:
        descriptor = open_regular(path, os.O_RDWR | os.O_CREAT)
        try:
            os.fchmod(descriptor, 0o600)  # the journal's files inherit it
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.EISDIR, errno.ENXIO, errno.EINVAL}:
            raise StoreDamaged(path, "it is no regular file") from None
        raise StoreUnwritable(path, error) from None


def _lock(path: Path) -> int:
    """A descriptor that holds the writer's lock until it is closed, by us or by our end."""
    descriptor = take(path)
    if descriptor is None:
        raise MeshwardError(
            codes.ANOTHER_COLLECTOR,
            f"another collector writes to `{path.parent}`",
        )
    return descriptor
