"""What the store says that it holds, beside what was anchored; and whether somebody else wrote to its files.

What was anchored is compared at the start. To count the rows of a large store takes as long as SQLite's own check of
the file; so they are counted while it is already written, in the view that a second connection has of the start.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path

from meshward.audit.anchor import (
    ANCHOR,
    ANOTHER,
    GONE,
    HOUR,
    OLDER,
    SET_BACK,
    UNPROVEN,
    Anchor,
    Changed,
    Loss,
    Mark,
    advance,
    altered,
    check_of,
    difference,
    missed,
)
from meshward.audit.passed import Passed
from meshward.audit.tables import RECOUNT
from meshward.kit.boot import Moment
from meshward.kit.errors import MeshwardError

AT_ONCE = 20_000
"""Rows that are counted before the store is used."""
_Print = tuple[tuple[int, int, int] | None, ...]


class Held:
    """The store's word and the anchor, moved together. SQL runs inside of the caller's transaction."""

    def __init__(self, state: Path, db: sqlite3.Connection, moment: Callable[[], Moment]) -> None:
        self._state = state
        self._db = db
        self._moment = moment
        self.counts_later = False
        self._next: Anchor | None = None
        self._saved: Anchor | None = None

    def reckon(self, now: float, once: Mark | None = None) -> list[Loss]:
        """At the start: what is missed. It is written down, and what is there counts from now on.

        `once`: how far the store is remembered to have been.
        """
        fresh = self._begin(now)
        found, kept = self._word(), _kept(self._db)
        passed, wall, boot, uptime = self._db.execute("SELECT passed, at, boot, uptime FROM store").fetchone()
        self._passed = self._stored = Passed(passed, Moment(wall, boot, uptime))
        self.counts_later = not fresh and sum(kept.rows.values()) > AT_ONCE
        counted = kept if self.counts_later else _counted(self._db)
        try:
            self._saved = ANCHOR.read(self._state)
        except MeshwardError:
            self._saved = None
        edited = None if fresh else altered(kept, counted, now)
        losses = [loss for loss in (self._missed(found, once, now), edited) if loss]
        self._value = found
        if losses or fresh:
            self._adopt(counted, losses, now)
        self.committed()
        return losses

    def clock(self) -> float:
        """What the records' own clock shows now."""
        self._passed = self._passed.to(self._moment())
        return self._passed.clock

    @property
    def idle(self) -> float:
        """Seconds of that clock since it was last written down."""
        return self.clock() - self._stored.clock

    def move(self, now: float, lines: Mapping[str, int], changed: Changed) -> None:
        """One commit more, which reads so many lines and changes these rows."""
        self._next = advance(self._value, now, lines, changed)
        self.clock()
        self._stored = passed = self._passed
        self._db.execute(
            "UPDATE store SET commits = ?, at = ?, passed = ?, boot = ?, uptime = ?",
            (self._next.commits, now, passed.clock, passed.at.boot, passed.at.uptime),
        )
        self._db.executemany(
            "INSERT INTO consumed VALUES (?, ?) ON CONFLICT DO UPDATE SET lines = lines + excluded.lines",
            lines.items(),
        )
        self._db.executemany(
            "INSERT INTO kept VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE "
            "SET rows = rows + excluded.rows, checksum = checksum + excluded.checksum",
            [(*key, rows, changed.check[key]) for key, rows in changed.rows.items()],
        )

    def correct(self, loss: Loss, difference: Changed, now: float) -> None:
        """Write down what was found later, and count on from what is there."""
        self._note(loss, difference)
        self.move(now, {}, difference)

    def committed(self) -> None:
        """What `move` said is durable in the store."""
        self._value = self._next or self._value
        self._next = None

    def rolled_back(self) -> None:
        self._next = None

    def save(self) -> None:
        """Anchor what is committed, where it is not yet. Raises OSError."""
        if self._saved != self._value:
            ANCHOR.write(self._state, self._value)
            self._saved = self._value

    def _missed(self, found: Anchor, once: Mark | None, now: float) -> Loss | None:
        """By the anchor; where it knows of nothing, by what is remembered, unless that was noted since."""
        loss = missed(self._saved, found, now)
        if once is None or not once.lies_ahead_of(found) or not (loss is None or loss.why == UNPROVEN):
            return loss
        query = "SELECT 1 FROM losses WHERE noticed >= ? AND why IN (?, ?, ?, ?) LIMIT 1"
        if self._db.execute(query, (once.at, OLDER, GONE, ANOTHER, SET_BACK)).fetchone():
            return loss
        return Loss(now, found.at, now, SET_BACK, {})

    def _begin(self, now: float) -> bool:
        """Whether the store had no word of its own: it is new, or of an older release."""
        if self._db.execute("SELECT count(*) FROM store").fetchone()[0]:
            return False
        at = self._moment()
        self._db.execute(
            "INSERT INTO store VALUES (1, ?, ?, 0, ?, ?, ?, ?)",
            (secrets.token_hex(16), now, now, at.wall, at.boot, at.uptime),
        )
        return True

    def _word(self) -> Anchor:
        store, begun, commits, at = self._db.execute("SELECT id, begun, commits, at FROM store").fetchone()
        lines = dict(self._db.execute("SELECT source, lines FROM consumed"))
        rows = dict(self._db.execute("SELECT kind, sum(rows) FROM kept GROUP BY kind HAVING sum(rows)"))
        (check,) = self._db.execute("SELECT coalesce(sum(checksum), 0) FROM kept").fetchone()
        return Anchor(store, begun, commits, at, lines, rows, check)

    def _note(self, loss: Loss, changed: Changed) -> None:
        times = float(loss.noticed), float(loss.since), float(loss.until)  # as they are read again
        row = (*times, loss.why, json.dumps(dict(loss.counts), sort_keys=True))
        self._db.execute(
            "INSERT INTO losses (noticed, since, until, why, counts) VALUES (?, ?, ?, ?, ?)", row
        )
        changed.add("losses", loss.noticed, 1, check_of(*row))

    def _adopt(self, counted: Changed, losses: list[Loss], now: float) -> None:
        """Go on with what is there. Commits and lines that were anchored are not counted a second time."""
        for loss in losses:
            self._note(loss, counted)
        anchored = self._saved if self._saved and self._saved.store == self._value.store else None
        found = self._value
        commits = max(found.commits, anchored.commits if anchored else 0)
        lines = dict(found.lines)
        for source, count in anchored.lines.items() if anchored else ():
            lines[source] = max(count, lines.get(source, 0))
        self._db.execute("DELETE FROM kept")
        self._db.execute("DELETE FROM consumed")
        self._value = Anchor(found.store, found.begun, commits, now, {}, {}, 0)
        self.move(now, lines, counted)


class Footprint:
    """The store's files as our own last transaction left them: whoever else writes to them leaves another."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._journal = path.with_name(f"{path.name}-wal")
        self.take()

    def take(self) -> None:
        self._print = self._look()

    def foreign(self) -> str | None:
        """What somebody else did. None: nothing."""
        before, now = self._print, self._look()
        if before == now:
            return None
        for name, old, new in zip(("file", "journal"), before, now, strict=True):
            if old is not None and (new is None or new[0] != old[0]):
                return f"the {name} was removed or replaced while it was in use"
        return "somebody else wrote to it while it was in use"

    @property
    def journal_lost(self) -> bool:
        """Whether the journal alone is gone: what is in it can still be put into the file by whoever holds it open."""
        before, now = self._print, self._look()
        return before[0] == now[0] and before[1] is not None and (now[1] is None or now[1][0] != before[1][0])

    def _look(self) -> _Print:
        return _print(self._path), _print(self._journal)


class Recount:
    """All rows as they are at its beginning, counted some at a time. `db` is its own, for reading."""

    def __init__(self, db: sqlite3.Connection) -> None:
        know_check(db)
        db.execute("BEGIN")
        self._db = db
        self._kept = _kept(db)  # from here on the view stands
        self._rows = _parts(db)
        self._counted = Changed()

    def go_on(self, most: int) -> bool:
        """Count so many rows. Whether there may be more."""
        left = most
        for kind, hour, count, check in islice(self._rows, most):
            self._counted.add(kind, hour * HOUR, count, check)
            left -= 1
        return left == 0

    def found(self, now: float) -> tuple[Loss, Changed] | None:
        """When all are counted: what is not as it was kept, and by how much."""
        loss = altered(self._kept, self._counted, now)
        return None if loss is None else (loss, difference(self._kept, self._counted))

    def close(self) -> None:
        self._db.close()


def know_check(db: sqlite3.Connection) -> None:
    """What the queries of `tables` call."""
    db.create_function("check_of", -1, check_of, deterministic=True)


def _kept(db: sqlite3.Connection) -> Changed:
    return _changed(db.execute("SELECT kind, hour, rows, checksum FROM kept WHERE rows OR checksum"))


def _counted(db: sqlite3.Connection) -> Changed:
    return _changed(_parts(db))


def _parts(db: sqlite3.Connection) -> Iterator[tuple[str, int, int, int]]:
    return ((kind, *row) for kind, query in RECOUNT.items() for row in db.execute(query))


def _print(path: Path) -> tuple[int, int, int] | None:
    try:
        state = path.lstat()
    except FileNotFoundError:
        return None
    return state.st_ino, state.st_size, state.st_mtime_ns


def _changed(rows: Iterable[tuple[str, int, int, int]]) -> Changed:
    found = Changed()
    for kind, hour, count, check in rows:
        found.add(kind, hour * HOUR, count, check)
    return found
