"""The tables of the store, and what makes of each older format the next."""

from __future__ import annotations

VERSION = 3
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
STEPS = {1: _CHANGES, 2: _PROOF}
"""By the older format's number. Each runs in one transaction."""
SCHEMA = (
    """
CREATE TABLE records (
    seq INTEGER PRIMARY KEY,
    rid TEXT NOT NULL,
    at REAL NOT NULL,           -- seconds since the epoch, by the hop's clock
    seen REAL NOT NULL,         -- by the collector's clock, when the first half was read
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
)

RECOUNT = {
    "records": "SELECT CAST(seen AS INTEGER) / 3600, 1, check_of(rid, edge, guard) FROM records",
    "changes": "SELECT CAST(at AS INTEGER) / 3600, 1, check_of(id, outcome, facts) FROM changes",
    "refusals": "SELECT second / 3600, sum(count), 0 FROM refusals GROUP BY 1",
    "gaps": "SELECT second / 3600, sum(count), 0 FROM gaps GROUP BY 1",
    "losses": "SELECT CAST(noticed AS INTEGER) / 3600, 1, check_of(why, counts, NULL) FROM losses",
}
"""What `kept` must say of each kind, in parts: hour, rows, check sum. To sort whole records takes twice as long."""
