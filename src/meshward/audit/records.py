"""The records as whoever reads them sees them: one SQLite file, which `store` writes."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from meshward.audit.anchor import Loss
from meshward.audit.flat import read
from meshward.audit.join import Record
from meshward.audit.lines import ChangeLine, edge_line, guard_line
from meshward.audit.passed import Passed
from meshward.audit.tables import STEPS, VERSION
from meshward.kit import codes
from meshward.kit.boot import Moment
from meshward.kit.errors import MeshwardError

FILE = "records.sqlite"
_BUSY_MS = 5_000


class StoreDamaged(MeshwardError):
    """The file is not what we wrote (MW4001)."""

    def __init__(self, path: Path, why: str, remedy: str = "") -> None:
        message = f"the records in `{path}` are damaged: {why}"
        remedy = remedy or (
            f"move {path.name}, {path.name}-wal and {path.name}-shm aside, keep them, and start again: lines "
            "not yet read are still in the logs and go into a new file"
        )
        super().__init__(codes.RECORDS_DAMAGED, message, remedy)


class StoreUnwritable(MeshwardError):
    """Nothing was written; trying again later may help (MW4005)."""

    def __init__(self, path: Path, error: sqlite3.Error | OSError) -> None:
        super().__init__(
            codes.RECORDS_UNWRITABLE, f"cannot write to `{path}`: {getattr(error, 'strerror', error)}"
        )


@dataclass(frozen=True, slots=True)
class Tally:
    """How often something happened in one second. `where` is a layer or a log."""

    second: int
    where: str
    reason: str
    count: int


class Records:
    """The store as a reader sees it."""

    def __init__(self, state: Path) -> None:
        """Open STATE's records for reading. Raises MeshwardError MW4004 (there are none), StoreDamaged."""
        self.path = state / FILE
        if not self.path.is_file():
            raise MeshwardError(codes.NO_RECORDS, f"there are no records at `{self.path}`")
        self._db = connect(self.path, "ro")
        self._check_version()

    def records(self, rid: str) -> list[Record]:
        """All records with this request id, in the order in which they came. Usually one."""
        return [record for _, _, record in self._rows(rid)]

    def newest(self, count: int) -> list[Record]:
        """The last `count` records, the newest first."""
        query = "SELECT rid, edge, guard, waiting, reused FROM records ORDER BY seq DESC LIMIT ?"
        return [record_of(*row) for row in self._query(query, (count,))]

    def last(self) -> int:
        """The number of the newest record; 0: there is none."""
        return int(self._query("SELECT coalesce(max(seq), 0) FROM records")[0][0])

    def after(self, number: int, most: int = 10_000) -> Iterator[tuple[int, Record]]:
        """The first `most` records behind that number, each with its own."""
        query = (
            "SELECT seq, rid, edge, guard, waiting, reused FROM records WHERE seq > ? ORDER BY seq LIMIT ?"
        )
        return ((row[0], record_of(*row[1:])) for row in self._query(query, (number, most)))

    def refusals(self, since: float) -> list[Tally]:
        """Requests that ended before there was an identity, from the second `since` on."""
        query = "SELECT second, layer, reason, count FROM refusals WHERE second >= ? ORDER BY second"
        return [Tally(*row) for row in self._query(query, (int(since),))]

    def counted(self, since: float) -> Counter[str]:
        """Refusals, by reason, that have no record of their own, from `since` on: another request's counts them."""
        query = """SELECT edge FROM records WHERE at >= ? AND edge GLOB '*"n":"[0-9]*'"""
        found = Counter[str]()
        for (text,) in self._query(query, (since,)):
            record = record_of("", text, None, 0, 0)
            found[record.edge.reason if record.edge else ""] += record.count - 1
        return +found

    def gaps(self, since: float) -> list[Tally]:
        """Lines that were no records, and logs whose lines may be lost, from the second `since` on."""
        query = "SELECT second, source, reason, count FROM gaps WHERE second >= ? ORDER BY second"
        return [Tally(*row) for row in self._query(query, (int(since),))]

    def gap_sums(self, since: float) -> list[Tally]:
        """The same, one for each log and reason: the last second, and how many in all; the latest last."""
        query = """SELECT max(second) AS last, source, reason, sum(count) FROM gaps WHERE second >= ?
            GROUP BY source, reason ORDER BY last"""
        return [Tally(*row) for row in self._query(query, (int(since),))]

    def span(self) -> tuple[float, float] | None:
        """When the oldest and the newest recorded requests ended; None where there is no record."""
        oldest, newest = self._query("SELECT min(at), max(at) FROM records")[0]
        return None if oldest is None else (oldest, newest)

    def subjects(self, newest: int = 50_000) -> list[str]:
        """Who asked in the `newest` records, whoever asked last first; then the authors of changes."""
        query = (
            "SELECT subject, max(seq) FROM (SELECT seq, subject FROM records ORDER BY seq DESC LIMIT ?) "
            "WHERE subject != '' GROUP BY subject ORDER BY 2 DESC"
        )
        authors = "SELECT author, max(seq) FROM changes GROUP BY author ORDER BY 2 DESC"
        rows = [*self._query(query, (newest,)), *(self._query(authors) if self._version() >= 2 else ())]
        return list(dict.fromkeys(row[0] for row in rows))

    def changes(self, since: float = 0.0, most: int = -1) -> list[ChangeLine]:
        """What was written about changes of the instance from `since` on, in the order in which it was.

        `most`: not more than so many of the last lines; -1: all.
        """
        if self._version() < 2:  # of a meshward that kept none
            return []
        query = "SELECT id, printf('%.3f', at), author, did, outcome, facts FROM changes WHERE at >= ?"
        rows = self._query(f"{query} ORDER BY seq DESC LIMIT ?", (since, most))
        return [ChangeLine(*row) for row in reversed(rows)]

    def losses(self) -> list[Loss]:
        """What was kept and is not there any more, in the order in which it was noticed."""
        if self._version() < 3:
            return []
        rows = self._query("SELECT noticed, since, until, why, counts FROM losses ORDER BY seq")
        return [
            Loss(noticed, since, until, why, _counts(counts)) for noticed, since, until, why, counts in rows
        ]

    def ended(self) -> dict[str, tuple[float, int]]:
        """Of each kind of row: from before when, and how many, were erased because they were old."""
        if self._version() < 3:
            return {}
        return {
            kind: (until, rows) for kind, until, rows in self._query("SELECT kind, until, rows FROM ended")
        }

    def passed(self) -> Passed | None:
        """How the records' own clock stood at the last commit. None: they are of a release that had none."""
        if self._version() < 5:
            return None
        found = self._query("SELECT passed, at, boot, uptime FROM store")
        return Passed(found[0][0], Moment(*found[0][1:])) if found else None

    def size(self) -> int:
        """Bytes that are in use, in the file and in its journal. Free ones in the file are used again."""
        pages, free, page = (
            self._query(f"PRAGMA {name}")[0][0] for name in ("page_count", "freelist_count", "page_size")
        )
        journal = self.path.with_name(f"{self.path.name}-wal")
        with suppress(FileNotFoundError):
            return int((pages - free) * page + journal.stat().st_size)
        return int((pages - free) * page)

    def close(self) -> None:
        self._db.close()

    def _rows(self, rid: str) -> list[tuple[int, float, Record]]:
        query = "SELECT seq, seen, edge, guard, waiting, reused FROM records WHERE rid = ? ORDER BY seq"
        return [(row[0], row[1], record_of(rid, *row[2:])) for row in self._query(query, (rid,))]

    def _query(self, sql: str, values: tuple[object, ...] = ()) -> list[Any]:
        with damage(self.path):
            return self._db.execute(sql, values).fetchall()

    def _version(self) -> int:
        return int(self._query("PRAGMA user_version")[0][0])

    def _check_version(self) -> None:
        version = self._version()
        if version != VERSION and version not in STEPS:
            message = f"`{self.path}` has the format {version}, this meshward knows {VERSION}"
            raise MeshwardError(codes.RECORDS_OF_ANOTHER_FORMAT, message)


def _counts(text: str) -> dict[str, int]:
    """None where somebody else wrote what it is: that is a loss of its own."""
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def record_of(rid: str, edge: str | None, guard: str | None, waiting: int, reused: int) -> Record:
    return Record(
        rid,
        edge_line(read(edge.encode()), edge) if edge else None,
        guard_line(read(guard.encode()), guard) if guard else None,
        waiting=bool(waiting),
        reused=bool(reused),
    )


def connect(path: Path, mode: str) -> sqlite3.Connection:
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    db = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=_BUSY_MS / 1000)
    db.execute("PRAGMA trusted_schema = OFF")
    return db


@contextmanager
def damage(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError) and not is_damage(error):
            raise StoreUnwritable(path, error) from error
        raise StoreDamaged(path, str(error)) from error


def is_damage(error: sqlite3.DatabaseError) -> bool:
    """Whether trying again cannot help: the file is none, or broken, or a table of ours is not in it."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in {
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_ERROR,
        sqlite3.SQLITE_SCHEMA,
    }
