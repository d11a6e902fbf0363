"""One line of the edge's or a guard's access log, or of the log of changes, as a value. Pure: bytes in, lines or
garbage out.

A line is one flat JSON object, every value a string; Envoy also writes null for what is absent and digits
for numbers, which are taken as text. A full disk cuts a record, and the next lands on the same line. A reader
finds it by `{"` and a letter: both proxies escape quotes, so inside a record a quote behind a brace ends a
text, and no letter follows it.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from itertools import repeat
from typing import Any, Literal, NamedTuple

from meshward.audit.flat import read, storable, value
from meshward.kit.canonical import canonical_json

MAX_LINE = 64 * 1024
"""Bytes of the longest record that is read; a longer one is garbage."""

Hop = Literal["edge", "guard", "control"]

_RID = re.compile(r"[0-9a-f]{32}", re.ASCII)
_START = re.compile(rb'(?=\{"[a-z])')


@dataclass(frozen=True, slots=True)
class Facts:
    """What the decision said about the caller and the request. Unknown ones are empty."""

    sub: str = ""
    roles: tuple[str, ...] = ()
    model: str = ""
    action: str = ""
    perm: str = ""
    grant: str = ""
    rev: str = ""
    txn: str = ""
    tth: str = ""
    ath: str = ""
    x5t: str = ""
    exp: str = ""


class _EdgeFields(NamedTuple):
    """A tuple, as `_GuardFields`: each request makes one of both, and a frozen dataclass takes three times as long."""

    rid: str
    t: str = ""
    ip: str = ""
    conn: str = ""
    creq: str = ""
    pid: str = ""
    method: str = ""
    path: str = ""
    front: str = ""
    model: str = ""
    status: str = ""
    bytes: str = ""
    bytes_in: str = ""
    dur: str = ""
    done: str = ""
    last: str = ""
    reqd: str = ""
    resd: str = ""
    reason: str = ""
    facts: str = ""
    cache: str = ""
    guard: str = ""
    layer: str = ""
    n: str = ""
    place: str = ""


class EdgeLine(_EdgeFields):
    """What nginx wrote about one request. `t`, `dur`: seconds; `bytes*`: bytes; digests: base64 SHA-256.

    `n`: how many refusals this one stands for, of the same identity, reason and second; empty: itself.

    `place`: empty, or `far`, `near`: the hop behind the edge is not on this machine, and its line is not here.

    `text`: the JSON that it was read from. It is no field: two lines that say the same are equal.
    """

    text: str

    @property
    def claims(self) -> Facts | None:
        """The decision's facts; None where there are none or they cannot be read."""
        return decode_facts(self.facts)

    @property
    def elsewhere(self) -> bool:
        """Whether it was passed on to a hop whose lines are not read here."""
        return self.forwarded and self.place != ""

    @property
    def forwarded(self) -> bool:
        """Whether the edge passed the request on, so that a hop behind it must have seen it."""
        return self.guard != "" and self.layer != "edge"


class _GuardFields(NamedTuple):
    rid: str
    t: str = ""
    conn: str = ""
    uid: str = ""
    method: str = ""
    path: str = ""
    status: str = ""
    flags: str = ""
    details: str = ""
    bytes: str = ""
    bytes_in: str = ""
    dur: str = ""
    peer: str = ""
    serial: str = ""
    sub: str = ""
    scope: str = ""
    grant: str = ""
    rev: str = ""
    txn: str = ""
    model: str = ""
    action: str = ""
    told_reqd: str = ""
    guard: str = ""
    upstream: str = ""


class GuardLine(_GuardFields):
    """What Envoy wrote about one request. `t` in seconds, `dur` in milliseconds, `bytes*` in bytes; `text` as above."""

    text: str


@dataclass(frozen=True, slots=True)
class ChangeLine:
    """What the instance wrote about a change of itself; the lines of one change share its `id`.

    `t`: seconds; `outcome`: one of `OUTCOMES`; `facts`: a JSON object of texts.
    """

    id: str
    t: str = ""
    author: str = ""
    did: str = ""
    outcome: str = ""
    facts: str = ""


BEGUN, DONE, REFUSED, FAILED = "begun", "done", "refused", "failed"
OUTCOMES = (BEGUN, DONE, REFUSED, FAILED)


@dataclass(frozen=True, slots=True)
class Garbage:
    """Bytes that are no record: why, and how many. Never the bytes themselves."""

    reason: str
    size: int


Line = EdgeLine | GuardLine | ChangeLine | Garbage

_FACTS = tuple(field.name for field in fields(Facts) if field.name != "roles")
_CHANGE_FIELDS = tuple(field.name for field in fields(ChangeLine))
_KEY: Mapping[Hop, str] = {"edge": "rid", "guard": "rid", "control": "id"}


def is_rid(text: str) -> bool:
    """Whether `text` is a request's id as nginx makes them: 32 lower-case hex digits."""
    return _RID.fullmatch(text) is not None


def parse(raw: bytes, hop: Hop) -> list[Line]:
    """The records on one line of `hop`'s log. Never raises: what is no record of that hop is `Garbage`.

    A guard's log cannot speak for the edge: a record that names another hop is garbage.
    """
    body = raw.strip(b"\0\r\n ")  # an erased or preallocated stretch reads as zeros
    if not body:
        return []
    whole = _record(body, hop)
    if not isinstance(whole, Garbage):
        return [whole]
    pieces = [piece for piece in _START.split(body) if piece.strip(b"\0 ")]
    return [whole] if len(pieces) == 1 else [_record(piece, hop) for piece in pieces]


def edge_line(values: Mapping[str, str], text: str) -> EdgeLine:
    """An edge's line from the fields of `text`; absent ones are empty, unknown ones are left out."""
    line = EdgeLine._make(map(values.get, EdgeLine._fields, repeat("")))
    line.text = text
    return line


def guard_line(values: Mapping[str, str], text: str) -> GuardLine:
    """A guard's line from the fields of `text`; absent ones are empty, unknown ones are left out."""
    known = values if "who" not in values else {**values, **_who(values["who"])}
    line = GuardLine._make(map(known.get, GuardLine._fields, repeat("")))
    line.text = text
    return line


@lru_cache(maxsize=1024)  # one cached decision serves many requests
def _who(text: str) -> Mapping[str, str]:
    """What a guard verified: revision, grant, transaction, permission and subject, of which the last may hold spaces.

    A permission is `<model>.<action>`, and no action has a dot. What was not there is a dash.
    """
    rev, grant, txn, scope, sub = (text.split(" ", 4) + [""] * 5)[:5]
    model, _, action = scope.rpartition(".")
    named = {
        "rev": rev,
        "grant": grant,
        "txn": txn,
        "scope": scope,
        "sub": sub,
        "model": model,
        "action": action,
    }
    return {name: "" if value == "-" else value for name, value in named.items()}


def change_text(line: ChangeLine) -> str:
    """The line as `parse` reads it, without its end."""
    return canonical_json(
        {"v": "1", "hop": "control", **{name: getattr(line, name) for name in _CHANGE_FIELDS}}
    )


def values_of(line: EdgeLine | GuardLine) -> dict[str, str]:
    """A line's fields that are not empty."""
    return {name: value for name, value in zip(line._fields, line, strict=True) if value}


@lru_cache(maxsize=1024)  # one cached decision serves many requests
def decode_facts(text: str) -> Facts | None:
    """`X-Mw-Facts`, base64url without padding of a JSON object; None where it is not that."""
    try:
        raw = urlsafe_b64decode(text + "=" * (-len(text) % 4))
        return _facts(value(raw.decode()))
    except (ValueError, RecursionError):
        return None


def _facts(values: Any) -> Facts:
    if not isinstance(values, dict) or not values:
        raise ValueError("not an object")
    roles = values.get("roles") or []
    if not isinstance(roles, list) or not all(isinstance(role, str) for role in roles):
        raise ValueError("roles")
    known = {name: "" if (text := values.get(name)) is None else text for name in _FACTS}
    if not all(isinstance(text, str) for text in known.values()):
        raise ValueError("not text")
    clean = {name: storable(text) for name, text in known.items()}
    return Facts(roles=tuple(storable(role) for role in roles), **clean)


def _record(body: bytes, hop: Hop) -> Line:
    if len(body) > MAX_LINE:
        return Garbage("too_long", len(body))
    try:
        values = read(body)
    except (ValueError, RecursionError):
        return Garbage("not_a_record", len(body))
    if values.get("v") != "1" or not values.get(_KEY[hop]):
        return Garbage("not_a_record", len(body))
    if values.get("hop") != hop:
        return Garbage("wrong_hop", len(body))
    if hop == "control":
        return _change_line(values, len(body))
    text = body.decode("utf-8", "replace")
    return edge_line(values, text) if hop == "edge" else guard_line(values, text)


def _change_line(values: Mapping[str, str], size: int) -> Line:
    line = ChangeLine(**{name: values.get(name, "") for name in _CHANGE_FIELDS})
    return line if line.outcome in OUTCOMES else Garbage("not_a_record", size)
