"""Rows that are older than they are kept are erased, whole hours at once, some at a time; how many is kept.

Losses stay: they say what else is not there. What was erased is counted as the rest is, so that nothing is missed that
was ended, and nothing ended that is missed.
"""

# ruff: noqa: S608  queries are put together from names of ours

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping

from meshward.audit.anchor import HOUR, Changed
from meshward.audit.tables import CHECK

MOST = 5_000
"""Rows of each kind in one transaction: more than come in its time."""
_PAGES = 10_000  # given back to the file system at once

# hour, rows, check sum, and what is erased by
_OLDEST: Mapping[str, str] = {
    "records": (
        f"SELECT CAST(seen AS INTEGER) / 3600, 1, {CHECK['records']}, seq FROM records "
        "WHERE seen < ? ORDER BY seq LIMIT ?"
    ),
    "changes": (
        f"SELECT CAST(seen AS INTEGER) / 3600, 1, {CHECK['changes']}, seq FROM changes "
        "WHERE seen < ? ORDER BY seq LIMIT ?"
    ),
    "refusals": (
        f"SELECT second / 3600, sum(count), sum({CHECK['refusals']}), second FROM refusals "
        "WHERE second < ? GROUP BY second LIMIT ?"
    ),
    "gaps": (
        f"SELECT second / 3600, sum(count), sum({CHECK['gaps']}), second FROM gaps "
        "WHERE second < ? GROUP BY second LIMIT ?"
    ),
}
_ERASE: Mapping[str, str] = {
    "records": "DELETE FROM records WHERE seq IN (SELECT value FROM json_each(?))",
    "changes": "DELETE FROM changes WHERE seq IN (SELECT value FROM json_each(?))",
    "refusals": "DELETE FROM refusals WHERE second IN (SELECT value FROM json_each(?))",
    "gaps": "DELETE FROM gaps WHERE second IN (SELECT value FROM json_each(?))",
}


def due(db: sqlite3.Connection, before: float, counts_before: float) -> dict[str, float]:
    """The kinds that have rows of whole hours before then: counts know the machine's clock alone."""
    query = "SELECT 1 FROM kept WHERE kind = ? AND hour < ? AND rows > 0 LIMIT 1"
    ends = {"records": before, "changes": before, "refusals": counts_before, "gaps": counts_before}
    return {kind: end for kind, end in ends.items() if db.execute(query, (kind, int(end) // HOUR)).fetchone()}


def erase(db: sqlite3.Connection, kind: str, before: float, changed: Changed) -> None:
    """The oldest rows of the kind, at most `MOST` of them, inside of the caller's transaction."""
    until = int(before) // HOUR * HOUR
    rows = db.execute(_OLDEST[kind], (until, MOST)).fetchall()
    for hour, count, check, _ in rows:
        changed.add(kind, hour * HOUR, -count, -check)
    db.execute(_ERASE[kind], (json.dumps([row[3] for row in rows]),))
    _count_ended(db, kind, changed, -1)
    db.execute(
        "INSERT INTO ended VALUES (?, ?, ?) ON CONFLICT DO UPDATE "
        "SET until = max(until, excluded.until), rows = rows + excluded.rows",
        (kind, until, sum(row[1] for row in rows)),
    )
    _count_ended(db, kind, changed, 1)


def _count_ended(db: sqlite3.Connection, kind: str, changed: Changed, sign: int) -> None:
    for (check,) in db.execute(f"SELECT {CHECK['ended']} FROM ended WHERE kind = ?", (kind,)):
        changed.add("ended", 0, sign, sign * check)


def forget_hours(db: sqlite3.Connection) -> None:
    """Of which nothing is left."""
    db.execute("DELETE FROM kept WHERE rows = 0 AND checksum = 0")


def give_back(db: sqlite3.Connection) -> None:
    """Some of what is free in the file goes back to the file system. Outside of a transaction."""
    db.executescript(f"PRAGMA incremental_vacuum({_PAGES});")  # `execute` would end with the first page
