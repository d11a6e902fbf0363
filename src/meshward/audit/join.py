"""The edge's and the guard's lines of one request become one record. Pure.

A record is judged from its two halves alone, so it can be judged again by anyone who has them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

from meshward.audit.lines import EdgeLine, Facts, GuardLine, is_rid, values_of
from meshward.kit.canonical import digest
from meshward.kit.reasons import Reason

_CLAIMS = ("subject", "permission", "model", "action", "grant", "revision", "transaction")
_WIRE_CLAIMS = ("guard", "peer", "method", "path", "prompt digest")
_Texts = tuple[str, ...]
_FRONT = re.compile(r"/m/[^/]+(?P<rest>/.*)?", re.DOTALL)
_TOLD = re.compile(r"sha-256=:(?P<digest>[A-Za-z0-9+/=]+):")
_SECONDS = re.compile(r"[0-9]{1,11}(\.[0-9]{1,9})?", re.ASCII)
_REASON = re.compile(r"[a-z0-9_]{1,48}", re.ASCII)
# The answer ended early. Envoy's own 5xx for such a fault is an answer of its own, and whole.
_EXCEEDED = {
    "response_timeout": Reason.TIME_OVER,
    "stream_idle_timeout": Reason.GUARD_TIMEOUT,
}  # by Envoy's details
_CUT = frozenset({"DC", "DPE", "DT", "LR", "NFCF", "OM", "RFCF", "SI", "UC", "UMSDR", "UPE", "UR", "UT"})


@dataclass(frozen=True, slots=True)
class Disagreement:
    """One thing that edge and guard tell differently, each in its own words."""

    what: str
    edge: str
    guard: str


@dataclass(frozen=True)
class Record:
    """One request as its hops told it. At least one half is there.

    `waiting`: the other half may still come. `reused`: other lines carry the same request id.
    """

    rid: str
    edge: EdgeLine | None
    guard: GuardLine | None
    waiting: bool = False
    reused: bool = False

    @property
    def missing(self) -> str | None:
        """The hop that should have a line here and has none."""
        if self.edge is None:
            return "edge"
        awaited = self.edge.forwarded and not self.edge.elsewhere
        return "guard" if self.guard is None and awaited else None

    @cached_property
    def disagreements(self) -> tuple[Disagreement, ...]:
        return tuple(_disagreements(self))

    @property
    def agrees(self) -> bool:
        """Whether every hop that should have a line has one, and they tell the same."""
        return self.missing is None and not self.disagreements

    @property
    def complete(self) -> bool:
        """Whether the whole answer went out, by the edge's body filter and the guard's flags."""
        if self.edge is not None and (self.edge.last != "1" or self.edge.done != "OK"):
            return False
        return self.guard is None or not _was_cut(self.guard)

    @property
    def cut(self) -> str:
        """Why an answer that had begun was ended before its end; empty where no limit and no word of ours did that."""
        if self.complete or self.status >= 400:
            return ""
        return (self.edge.reason if self.edge else "") or (exceeded(self.guard) if self.guard else None) or ""

    @property
    def facts(self) -> Facts:
        """The edge's facts; where there are none, what the guard verified."""
        if self.edge is not None:
            return self.edge.claims or Facts()
        guard = self.guard
        assert guard is not None  # noqa: S101
        return Facts(guard.sub, (), guard.model, guard.action, guard.scope, guard.grant, guard.rev, guard.txn)

    @property
    def at(self) -> float:
        """When the request ended, in seconds since the epoch: a hop's claim, never a key."""
        return seconds((self.edge or self.guard).t)  # type: ignore[union-attr]

    @property
    def status(self) -> int:
        """What the client got; where only the guard tells, what the guard answered. 0: nothing."""
        return number((self.edge or self.guard).status)  # type: ignore[union-attr]

    @property
    def count(self) -> int:
        """How many requests it tells of: more than one where the edge only counted what an identity was refused."""
        return max(number(self.edge.n), 1) if self.edge is not None else 1

    @property
    def refused_by(self) -> str | None:
        """The layer that refused: `edge`, `guard`, or None."""
        if self.edge is not None and self.edge.layer == "edge":
            return "edge"
        if self.guard is not None and guard_refusal(self.guard):
            return "guard"
        return None


def arrange(rid: str, edges: Sequence[EdgeLine], guards: Sequence[GuardLine]) -> list[Record]:
    """All lines that carry one request id, as records.

    1. A line that is there twice, letter for letter, is one line.
    2. Halves that agree belong together.
    3. Of the rest, an edge's line takes a guard's only if the guard's peer was the edge: mutual TLS keeps
       everybody else inside the mesh from attaching a line to a request that is not theirs.
    4. What is left stands alone. Where more than one record came out, all but a first that agrees are marked.

    Nearly always there is one line of each, and they agree.
    """
    if len(edges) == len(guards) == 1 and (record := Record(rid, edges[0], guards[0])).agrees:
        return [record]
    left = list(dict.fromkeys(guards))
    unique = list(dict.fromkeys(edges))
    chosen: dict[EdgeLine, GuardLine] = {}
    for fits in (_agree, _from_edge):
        for edge in unique:
            match = None if edge in chosen else next((guard for guard in left if fits(edge, guard)), None)
            if match is not None:
                chosen[edge] = match
                left.remove(match)
    pairs: list[tuple[EdgeLine | None, GuardLine | None]] = [(edge, chosen.get(edge)) for edge in unique]
    pairs += [(None, guard) for guard in left]
    pairs.sort(key=lambda pair: pair[0] is None or pair[1] is None)  # stable: whole ones first
    return [_make_record(rid, pair, index, len(pairs)) for index, pair in enumerate(pairs)]


def record_id(line: EdgeLine | GuardLine) -> str:
    """The key of a line's record: its rid, or a name of its own if nginx never makes such a rid."""
    return line.rid if is_rid(line.rid) else f"stray-{digest(values_of(line))[:26]}"


def counted_reason(edge: EdgeLine) -> str | None:
    """Why a request that ended before there was an identity is only counted. None: it gets a record."""
    if edge.facts or edge.guard:
        return None
    if _REASON.fullmatch(edge.reason):
        return edge.reason
    return "public" if number(edge.status) < 400 else "other"


def guard_refusal(guard: GuardLine) -> Reason | None:
    """Why the guard itself refused; None where it passed the request to the model, or failed to."""
    status = number(guard.status)
    if guard.details.startswith("via_upstream") or not 400 <= status < 500:
        return None
    if "RL" in guard.flags.split(",") or status == 429:
        return Reason.GUARD_RATE_LIMITED
    return Reason.GUARD_NO_TOKEN if status == 401 else Reason.GUARD_FORBIDDEN


def exceeded(guard: GuardLine) -> Reason | None:
    """The limit in time that ended this request at its guard, if any."""
    return _EXCEEDED.get(guard.details)


def edge_spiffe_id(dns_name: str) -> str:
    """The edge's SPIFFE ID in the trust domain of a guard called `<version>.<model>.<trust domain>`."""
    return f"spiffe://{dns_name.split('.', 2)[-1]}/edge"


@lru_cache(maxsize=1024)  # nearly always a status
def number(text: str) -> int:
    """A status or size; 0 where it is no number."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else 0


def seconds(text: str) -> float:
    """A time stamp `<seconds>.<milliseconds>`; 0 where it is none."""
    return float(text) if _SECONDS.fullmatch(text) else 0.0


def told_digest(guard: GuardLine) -> str:
    """The request's digest as the edge told the guard (RFC 9530 `Content-Digest`), in base64."""
    match = _TOLD.fullmatch(guard.told_reqd)
    return match["digest"] if match else guard.told_reqd


def _make_record(rid: str, pair: tuple[EdgeLine | None, GuardLine | None], index: int, count: int) -> Record:
    record = Record(rid, *pair)
    first = index == 0 and record.agrees
    return Record(rid, *pair, waiting=record.missing is not None, reused=count > 1 and not first)


def _agree(edge: EdgeLine, guard: GuardLine) -> bool:
    return next(_compare(edge, guard), None) is None


def _from_edge(edge: EdgeLine, guard: GuardLine) -> bool:
    return edge.guard != "" and guard.peer == edge_spiffe_id(edge.guard)


def _disagreements(record: Record) -> Iterator[Disagreement]:
    edge, guard = record.edge, record.guard
    if record.reused:
        yield Disagreement("request id", record.rid, "also on other lines")
    if edge is not None and edge.facts and edge.claims is None:
        yield Disagreement("facts", "unreadable", "")
    if edge is not None and edge.forwarded and not edge.facts:
        yield Disagreement("identity", "forwarded without one", guard.sub if guard else "")
    if edge is not None and guard is not None:
        yield from _compare(edge, guard)
    elif guard is not None:
        yield from _doubt_lone_guard(guard)


def _doubt_lone_guard(guard: GuardLine) -> Iterator[Disagreement]:
    expected = edge_spiffe_id(guard.guard)
    if not is_rid(guard.rid):
        yield Disagreement("request id", "", guard.rid[:128])
    if guard.peer != expected:
        yield Disagreement("peer", expected, guard.peer)


def _compare(edge: EdgeLine, guard: GuardLine) -> Iterator[Disagreement]:
    """What the two lines tell differently. Each side's own word stands on its side."""
    refusal = guard_refusal(guard)
    if edge.layer == "edge":
        yield Disagreement("verdict", f"refused: {edge.reason}", f"saw the request: {guard.status}")
    elif refusal and refusal is not Reason.GUARD_RATE_LIMITED:
        yield Disagreement("verdict", "permitted", refusal)
    for what, left, right in _differing(_CLAIMS, *_claims(edge.claims or Facts(), guard)):
        if not (refusal and not right):  # a refused token leaves no claims behind
            yield Disagreement(what, left, right)
    for what, left, right in _differing(_WIRE_CLAIMS, *_wire_claims(edge, guard)):
        yield Disagreement(what, left, right)
    if not _statuses_fit(number(edge.status), number(guard.status)):
        yield Disagreement("status", edge.status, guard.status)


def _differing(names: _Texts, left: _Texts, right: _Texts) -> Iterable[tuple[str, str, str]]:
    """Both tellings of what is told differently; nearly always nothing."""
    if left == right:
        return ()
    return (each for each in zip(names, left, right, strict=True) if each[1] != each[2])


def _claims(facts: Facts, guard: GuardLine) -> tuple[_Texts, _Texts]:
    return (
        (facts.sub, facts.perm, facts.model, facts.action, facts.grant, facts.rev, facts.txn),
        (guard.sub, guard.scope, guard.model, guard.action, guard.grant, guard.rev, guard.txn),
    )


def _wire_claims(edge: EdgeLine, guard: GuardLine) -> tuple[_Texts, _Texts]:
    path = edge.path if edge.path == guard.path else _below_model(edge)
    return (
        (edge.guard, edge_spiffe_id(edge.guard), edge.method, path, edge.reqd),
        (guard.guard, guard.peer, guard.method, guard.path, told_digest(guard)),
    )


def _below_model(edge: EdgeLine) -> str:
    match = _FRONT.fullmatch(edge.path) if edge.front == "m" else None
    return match["rest"] or "/" if match else edge.path


def _statuses_fit(edge: int, guard: int) -> bool:
    """Equal; or the client left (499, 000), or the edge never got the guard's answer (502, 504)."""
    return edge == guard or edge in {0, 499, 502, 504}


def _was_cut(guard: GuardLine) -> bool:
    flags = _CUT.intersection(guard.flags.split(","))
    return "DC" in flags or (bool(flags) and number(guard.status) < 500)
