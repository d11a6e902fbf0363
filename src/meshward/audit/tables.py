"""The tables of the store, and what makes of each older format the next."""

# ruff: noqa: S608  queries are put together from names of ours

from __future__ import annotations

import sqlite3
from contextlib import closing

VERSION = 5
_CHANGES = """
CREATE TABLE changes (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL,           -- the lines of one change share it
    at REAL NOT NULL,           -- seconds since the epoch
    author TEXT NOT NULL, did TEXT NOT NULL,
    outcome TEXT NOT NULL,      -- begun | done | refused | failed
    facts TEXT NOT NULL         -- a JSON object of texts
) STRICT;
"""
_PROOF = """
CREATE TABLE store (            -- one row: the same as in records.json, or one commit ahead of it
    one INTEGER PRIMARY KEY CHECK (one = 1),
    id TEXT NOT NULL, begun REAL NOT NULL, commits INTEGER NOT NULL, at REAL NOT NULL
) STRICT;
CREATE TABLE consumed (source TEXT PRIMARY KEY, lines INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE kept (             -- what is counted of the rows of each kind, by the hour that they are of
    kind TEXT NOT NULL, hour INTEGER NOT NULL, rows INTEGER NOT NULL, checksum INTEGER NOT NULL,
    PRIMARY KEY (kind, hour)
) STRICT, WITHOUT ROWID;
CREATE TABLE losses (
    seq INTEGER PRIMARY KEY,
    noticed REAL NOT NULL, since REAL NOT NULL, until REAL NOT NULL,
    why TEXT NOT NULL,
    counts TEXT NOT NULL        -- a JSON object of numbers
) STRICT;
CREATE TABLE ended (            -- what retention erased
    kind TEXT PRIMARY KEY, until REAL NOT NULL, rows INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
"""
# `seen` is as that of records; `passed` is the records' own clock at the last commit, the rest what it goes on by.
_PASSED = """
ALTER TABLE changes ADD COLUMN seen REAL NOT NULL DEFAULT 0;
ALTER TABLE store ADD COLUMN passed REAL NOT NULL DEFAULT 0;
ALTER TABLE store ADD COLUMN boot TEXT NOT NULL DEFAULT '';
ALTER TABLE store ADD COLUMN uptime REAL NOT NULL DEFAULT 0;
"""
SCHEMA = (
    """
CREATE TABLE records (
    seq INTEGER PRIMARY KEY,
    rid TEXT NOT NULL,
    at REAL NOT NULL,           -- seconds since the epoch, by the hop's clock
    seen REAL NOT NULL,         -- by the records' own clock, when the first half was read
    waiting INTEGER NOT NULL,   -- 1: the other half may still come
    missing TEXT,               -- edge | guard | NULL
    agrees INTEGER NOT NULL,
    reused INTEGER NOT NULL,
    subject TEXT NOT NULL, model TEXT NOT NULL, action TEXT NOT NULL, paid_by TEXT NOT NULL,
    status INTEGER NOT NULL, refused_by TEXT,
    edge TEXT, guard TEXT       -- the halves as they were read, JSON
) STRICT;
CREATE INDEX records_rid ON records (rid);
CREATE INDEX records_at ON records (at);
CREATE INDEX records_waiting ON records (seen) WHERE waiting = 1;
CREATE TABLE refusals (
    second INTEGER NOT NULL, layer TEXT NOT NULL, reason TEXT NOT NULL, count INTEGER NOT NULL,
    PRIMARY KEY (second, layer, reason)
) STRICT, WITHOUT ROWID;
CREATE TABLE gaps (
    second INTEGER NOT NULL, source TEXT NOT NULL, reason TEXT NOT NULL, count INTEGER NOT NULL,
    PRIMARY KEY (second, source, reason)
) STRICT, WITHOUT ROWID;
CREATE TABLE positions (
    source TEXT NOT NULL, inode INTEGER NOT NULL, offset INTEGER NOT NULL, mark TEXT NOT NULL,
    clean INTEGER NOT NULL,     -- 1: all was read when the collector was told to stop
    PRIMARY KEY (source, inode)
) STRICT, WITHOUT ROWID;
"""
    + _CHANGES
    + _PROOF
    + _PASSED
)

CHECK = {
    "records": "check_of(seen, rid, at, missing, agrees, reused, subject, model, action, paid_by, status, refused_by, "
    "edge, guard)",
    "changes": "check_of(id, at, author, did, outcome, facts)",
    "refusals": "count * check_of(second, layer, reason)",
    "gaps": "count * check_of(second, source, reason)",
    "losses": "check_of(noticed, since, until, why, counts)",
    "ended": "check_of(kind, until, rows)",
}
"""What a row of each kind adds to the check sum: all of it but `waiting`, which ends by itself, and when a change was
seen, of which the hour counts."""

RECOUNT = {
    "records": f"SELECT CAST(seen AS INTEGER) / 3600, 1, {CHECK['records']} FROM records",
    "changes": f"SELECT CAST(seen AS INTEGER) / 3600, 1, {CHECK['changes']} FROM changes",
    "refusals": f"SELECT second / 3600, sum(count), sum({CHECK['refusals']}) FROM refusals GROUP BY 1",
    "gaps": f"SELECT second / 3600, sum(count), sum({CHECK['gaps']}) FROM gaps GROUP BY 1",
    "losses": f"SELECT CAST(noticed AS INTEGER) / 3600, 1, {CHECK['losses']} FROM losses",
    "ended": f"SELECT 0, 1, {CHECK['ended']} FROM ended",
}
"""What `kept` must say of each kind, in parts: hour, rows, check sum. To sort whole records takes twice as long."""

_RECOUNTED = "DELETE FROM kept;\nUPDATE store SET commits = commits + 2;\n" + "".join(
    f"INSERT INTO kept WITH part(hour, rows, checksum) AS ({query}) "
    f"SELECT '{kind}', hour, sum(rows), sum(checksum) FROM part GROUP BY hour;\n"
    for kind, query in (RECOUNT | {"changes": RECOUNT["changes"].replace("seen", "at")}).items()
)
_SEEN = "UPDATE changes SET seen = at;\nUPDATE store SET passed = at;\n"
STEPS = {1: _CHANGES, 2: _PROOF, 3: _RECOUNTED, 4: _PASSED + _SEEN}
"""By the older format's number. Each runs in one transaction. The third:
check sums over all of a row. What it makes of the rows proves nothing, so its commits are further than any anchor."""


def strange_in(db: sqlite3.Connection) -> list[str]:
    """Tables, indexes and all else that is not as `SCHEMA` makes it: a trigger could drop what is written."""
    with closing(sqlite3.connect(":memory:")) as made:
        made.executescript(SCHEMA)
        found, expected = _shape(db), _shape(made)
    return sorted(name for name in {*found, *expected} if found.get(name) != expected.get(name))


def _shape(db: sqlite3.Connection) -> dict[str, tuple[object, ...]]:
    """By name: what it is, of which table, and its columns. What SQLite keeps for itself is left out."""
    things = db.execute(
        "SELECT name, type, tbl_name FROM sqlite_master WHERE name NOT LIKE 'sqlite%'"
    ).fetchall()
    return {
        name: (kind, table, tuple(db.execute(f"SELECT name, type, pk FROM pragma_table_xinfo('{table}')")))
        for name, kind, table in things
    }
