"""Records in one SQLite file, and the log positions that they cover in the same transaction.

Write-ahead journal with `synchronous=FULL`: a committed batch survives power loss, and must, because the
raw lines behind it are erased right after. Readers never wait for the writer, nor the writer for them. One
process writes; a lock file says so.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from meshward.audit.anchor import Changed, Loss, check_of
from meshward.audit.held import Footprint, Held, Recount
from meshward.audit.join import Record, arrange, record_id, seconds
from meshward.audit.lines import ChangeLine, EdgeLine, GuardLine
from meshward.audit.records import FILE, Records, StoreDamaged, StoreUnwritable, connect, damage, record_of
from meshward.audit.retention import due, erase, forget_hours, give_back
from meshward.audit.tables import SCHEMA, STEPS, VERSION
from meshward.audit.tail import Position
from meshward.kit import codes
from meshward.kit.clock import Clock, system_clock
from meshward.kit.errors import MeshwardError
from meshward.kit.lock import take

PATIENCE = 10.0
"""Seconds after which a half whose other half has not come is missing it."""
MAX_PER_RID = 16
"""Records that one request id can have: a caller who repeats an id cannot make its lookups slow."""
_CACHE = 8 * 1024  # KiB: all that a large batch changes, so that no page goes to the journal twice
_CHECKPOINT = 4_000  # pages in the journal: those of the index come often, and go into the file once
_COUNTED = 2_000  # rows at once: some ten milliseconds
_Place = tuple[int | None, float]  # a row's number, and when it was seen


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

    def __init__(self, state: Path, clock: Clock = system_clock) -> None:
        """Open or create STATE's records, and note what was kept and is not there.

        One of an older format becomes one of this, and keeps its records.

        Raises StoreDamaged, MeshwardError MW4002 (a newer format) and MW4003 (somebody else writes).
        """
        self.path = state / FILE
        self._lock = _lock(state / "records.lock")
        try:
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
            self.path.chmod(0o600)  # the journal's files inherit it
            with damage(self.path):
                self._db = connect(self.path, "rw")
                self._prepare()
            self._check_version()
            self._footprint = Footprint(self.path)
            self._held = Held(state, self._db)
            with self._transaction():
                self.noticed = self._held.reckon(clock())
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

    def write(self, batch: Batch, now: float) -> None:
        """Everything of `batch`, or nothing. Raises StoreUnwritable, StoreDamaged."""
        changed = Changed()
        with self._transaction():
            gaps = batch.gaps.copy()
            gaps[(int(now), "records", "request_id_flood")] += self._join(batch, now, changed)
            self._keep(batch.changes, changed)
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

    def end(self, before: float, now: float) -> bool:
        """Erase some of the rows from before `before`, if there are any. Whether there were. Raises StoreUnwritable."""
        with damage(self.path):
            kinds = due(self._db, before)
        if not kinds:
            return False
        changed = Changed()
        with self._transaction():
            for kind in kinds:
                erase(self._db, kind, before, changed)
            self._held.move(now, {}, changed)
            forget_hours(self._db)
        self._give_back()
        return True

    def settle(self, now: float) -> int:
        """Stop waiting for halves that should have come by `now`; how many. Raises StoreUnwritable."""
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
        self._db.execute(
            "PRAGMA auto_vacuum = INCREMENTAL"
        )  # of a new file: one that is there stays as it is
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT}")
        self._db.execute(f"PRAGMA cache_size = -{_CACHE}")
        verdict = self._db.execute("PRAGMA quick_check(1)").fetchone()[0]
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

    def _give_back(self) -> None:
        self._require_untouched()
        try:
            with damage(self.path):
                give_back(self._db)
        finally:
            self._footprint.take()

    def _keep(self, changes: list[ChangeLine], changed: Changed) -> None:
        for change in changes:
            check = check_of(change.id, change.outcome, change.facts)
            changed.add("changes", seconds(change.t), 1, check)
        self._db.executemany(
            "INSERT INTO changes (id, at, author, did, outcome, facts) VALUES (?, ?, ?, ?, ?, ?)",
            [(c.id, seconds(c.t), c.author, c.did, c.outcome, c.facts) for c in changes],
        )

    def _join(self, batch: Batch, now: float, changed: Changed) -> int:
        """Place new lines among those already there under their ids. Returns how many found no room."""
        dropped = new = check = 0
        at_end: _Place = (None, now)
        rows: list[tuple[object, ...]] = []
        surplus: list[tuple[int]] = []
        groups = _by_rid(batch)
        there = self._there(groups)
        for rid, (edges, guards) in groups.items():
            known = there.get(rid)
            if known:
                edges = [*(record.edge for _, _, record in known if record.edge), *edges]
                guards = [*(record.guard for _, _, record in known if record.guard), *guards]
            records = arrange(rid, edges, guards)
            kept = records[:MAX_PER_RID]
            dropped += len(records) - len(kept)
            if known:
                places: list[_Place] = [(seq, seen) for seq, seen, _ in known]
                places += [at_end] * (len(kept) - len(known))
                rows += map(_columns, kept, places)
                surplus += [(seq,) for seq, _, _ in known[len(kept) :]]
                _note(changed, known, zip(places, kept, strict=False))
            else:
                rows += [_columns(record, at_end) for record in kept]
                new += len(kept)
                check += sum(map(_check, kept))
        changed.add("records", now, new, check)
        self._db.executemany(_INSERT, rows)
        self._db.executemany("DELETE FROM records WHERE seq = ?", surplus)
        return dropped

    def _there(self, rids: Iterable[str]) -> dict[str, list[tuple[int, float, Record]]]:
        """What `_rows` says of each of `rids` that has records: one question for all of them."""
        query = (
            "SELECT rid, seq, seen, edge, guard, waiting, reused FROM records "
            "WHERE rid IN (SELECT value FROM json_each(?)) ORDER BY seq"
        )
        found: dict[str, list[tuple[int, float, Record]]] = defaultdict(list)
        for rid, seq, seen, *rest in self._query(query, (json.dumps(list(rids)),)):
            found[rid].append((seq, seen, record_of(rid, *rest)))
        return found

    def _count(self, table: str, where: str, counts: Counter[tuple[int, str, str]], changed: Changed) -> None:
        for (second, _, _), count in counts.items():
            changed.add(table, second, count)
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
            if getattr(error, "sqlite_errorcode", 0) & 0xFF in {
                sqlite3.SQLITE_CORRUPT,
                sqlite3.SQLITE_NOTADB,
            }:
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


def _columns(record: Record, place: _Place) -> tuple[object, ...]:
    facts = record.facts
    return (
        *place,
        record.rid,
        record.at,
        record.waiting,
        record.missing,
        record.agrees,
        record.reused,
        facts.sub,
        facts.model,
        facts.action,
        facts.grant,
        record.status,
        record.refused_by,
        record.edge.text if record.edge else None,
        record.guard.text if record.guard else None,
    )


def _check(record: Record) -> int:
    edge, guard = record.edge, record.guard
    return check_of(record.rid, edge.text if edge else "", guard.text if guard else "")


def _note(
    changed: Changed,
    known: Iterable[tuple[int, float, Record]],
    kept: Iterable[tuple[_Place, Record]],
) -> None:
    """Of rows that were there and get more: as they were, and as they are."""
    for _, seen, record in known:
        changed.add("records", seen, -1, -_check(record))
    for (_, seen), record in kept:
        changed.add("records", seen, 1, _check(record))


def _by_rid(batch: Batch) -> dict[str, tuple[list[EdgeLine], list[GuardLine]]]:
    groups: dict[str, tuple[list[EdgeLine], list[GuardLine]]] = defaultdict(lambda: ([], []))
    for edge in batch.edges:
        groups[record_id(edge)][0].append(edge)
    for guard in batch.guards:
        groups[record_id(guard)][1].append(guard)
    return groups


def _lock(path: Path) -> int:
    """A descriptor that holds the writer's lock until it is closed, by us or by our end."""
    descriptor = take(path)
    if descriptor is None:
        raise MeshwardError(
            codes.ANOTHER_COLLECTOR,
            f"another collector writes to `{path.parent}`",
        )
    return descriptor
