"""One request's story: what each hop saw, in order, and whether they tell the same."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from meshward.audit.join import Record, exceeded, guard_refusal, number, seconds, told_digest
from meshward.audit.lines import EdgeLine, GuardLine, is_rid, values_of
from meshward.audit.records import Records
from meshward.audit.told import gap_sentences
from meshward.kit.clock import moment, system_clock
from meshward.kit.text import spelled_out
from meshward.trace.reasons import remedy
from meshward.trace.skew import clock_skew

RECENT = 300
"""Seconds back for which refusals without an identity are counted where a request id is unknown."""
_POLL = 0.05
_HOPS = defaultdict(lambda: "hop behind it", {"far": "guard elsewhere", "near": "mesh"})


@dataclass(frozen=True, slots=True)
class Story:
    """All records under one request id: usually one, the best of several first."""

    rid: str
    records: tuple[Record, ...]

    @property
    def waiting(self) -> bool:
        """Whether another half may still come."""
        return any(record.waiting for record in self.records)

    @property
    def agrees(self) -> bool:
        return all(record.agrees for record in self.records)

    def as_json(self) -> dict[str, Any]:
        """The first record's fields, and the other records under the same id as `also`."""
        first, *others = map(record_json, self.records)
        return {"request_id": self.rid, **first, "agrees": self.agrees, "also": others}

    def lines(self) -> list[str]:
        """The story as text: printable characters only, whatever callers and issuers wrote."""
        told = [f"request {self.rid}"]
        for record in self.records:
            told += _record_lines(record)
        return [spelled_out(line) for line in told]


def story(store: Records, rid: str) -> Story | None:
    """What is known about `rid` now; None: nothing. Raises StoreDamaged, StoreUnwritable."""
    records = sorted(store.records(rid), key=lambda record: not record.agrees)
    return Story(rid, tuple(records)) if records else None


def wait_for(store: Records, rid: str, patience: float = 2.0) -> Story | None:
    """The story as soon as every half is there, or as it stands after `patience` seconds."""
    deadline = time.monotonic() + patience
    while True:
        told = story(store, rid)
        if (told and not told.waiting) or time.monotonic() >= deadline:
            return told
        time.sleep(_POLL)


def explain_missing(store: Records, rid: str, blind: Sequence[str] = ()) -> list[str]:
    """Why there may be no record of `rid`, in sentences. `blind`: why no records are kept; empty: they are."""
    now = system_clock()
    reasons = [] if is_rid(rid) else ["An id has 32 lower-case hex digits: copy it from X-Request-Id."]
    reasons += blind
    lost = [loss.sentence for loss in store.losses()] + gap_sentences(store)
    reasons += [f"It may be among what was lost: {spelled_out(each)}." for each in lost]
    if ended := store.ended().get("records"):
        reasons.append(
            f"It may have ended: {ended[1]} records from before {moment(ended[0])} were erased by `audit.retention`."
        )
    if recent := _recent(store, now):
        reasons.append(
            f"Requests that end before there is an identity have no records, and are only counted ({recent})."
        )
    if counted := _told(store.counted(now - RECENT)):
        reasons.append(
            "Its caller may have been refused more than a few times in that second: then the others are counted into "
            f"the record of one, which the answer named as X-Counted-As ({counted})."
        )
    span = store.span()
    kept = f"records begin {moment(span[0])}" if span else "there are no records yet"
    return [*reasons, f"It may be older than what is kept, or of another instance: {kept}."]


def proven(told: Story) -> bool:
    """Whether every half that should be there is, and they tell the same."""
    return not told.waiting and told.agrees


def verdict(record: Record) -> str:
    """What became of the request, in one sentence."""
    if record.edge is None:
        return _without_edge(record)
    if record.missing == "guard":
        so_far = "nothing yet from" if record.waiting else "no line of"
        return f"forwarded by the edge, {so_far} the guard {record.edge.guard}"
    if not record.agrees:
        return "edge and guard do not tell the same"
    reason = refusal(record)
    if record.refused_by:
        return f"refused by the {record.refused_by}: {reason or 'no reason given'} ({record.status})"
    if record.status >= 400:
        return f"permitted, but failed: {reason or 'the answer of the model server'} ({record.status})"
    if reason:
        return f"ended by the {'edge' if record.edge.reason else 'guard'} while it was answered: {reason}"
    if record.edge.elsewhere:
        return f"permitted by the edge ({record.status}); what the {_HOPS[record.edge.place]} did, its own log tells"
    return f"permitted by both hops ({record.status})" if record.guard else f"answered ({record.status})"


def refusal(record: Record) -> str | None:
    """The reason code for which this request did not succeed, where a hop of ours gave one."""
    if record.guard is not None and (reason := guard_refusal(record.guard)):
        return reason
    if record.edge is not None and record.edge.reason:
        return record.edge.reason
    return exceeded(record.guard) if record.guard is not None else None


def record_json(record: Record) -> dict[str, Any]:
    """One record for programs: each hop's fields, with the edge's facts spelled out among them."""
    reason = refusal(record)
    return {
        "verdict": verdict(record),
        "reason": reason,
        "remedy": remedy(reason) if reason else None,
        "refused_by": record.refused_by,
        "agrees": record.agrees,
        "complete": record.complete,
        "cut": record.cut or None,
        "waiting": record.waiting,
        "missing": record.missing,
        "count": record.count,
        "clock_skew": clock_skew(record),
        "at": record.at,
        "edge": _edge_json(record.edge) if record.edge else None,
        "guard": values_of(record.guard) if record.guard else None,
        "disagreements": [asdict(disagreement) for disagreement in record.disagreements],
    }


def _edge_json(edge: EdgeLine) -> dict[str, Any]:
    values: dict[str, Any] = {k: v for k, v in values_of(edge).items() if k not in {"facts", "model"}}
    facts = {name: value for name, value in asdict(edge.claims).items() if value} if edge.claims else {}
    return {**values, "asked_model": edge.model, **facts}


def _record_lines(record: Record) -> Iterator[str]:
    yield verdict(record)
    if record.missing:
        yield f"  its half at the {record.missing} {'has not come yet' if record.waiting else 'is missing'}"
    if record.count > 1:
        yield (
            f"  one of {record.count} of this identity, for this reason, in that second, "
            "whatever was asked for: the others have no record"
        )
    if reason := refusal(record):
        yield f"  what to do: {remedy(reason)}"
    if skew := clock_skew(record):
        yield f"  {skew}"
    for disagreement in record.disagreements:
        yield f"  DISAGREE {disagreement.what}: edge `{disagreement.edge}`, guard `{disagreement.guard}`"
    sections = (
        ("asked", _request_facts(record)),
        ("edge", _edge(record.edge)),
        ("guard", _guard(record.guard)),
    )
    for title, facts in (*sections, ("digests, SHA-256", _digests(record))):
        present = {name: value for name, value in facts.items() if value}
        if present:
            yield f"  {title}"
        for name, value in present.items():
            yield f"    {name:<14} {value}"


def _without_edge(record: Record) -> str:
    if any(disagreement.what == "peer" for disagreement in record.disagreements):
        return "seen by a guard only: the caller was not the edge"
    if record.waiting:
        return "seen by the guard; the edge has not finished the request yet"
    return "seen by the guard only: it still goes to a slow client, or the edge's line was lost"


def _request_facts(record: Record) -> Mapping[str, str]:
    facts = record.facts
    return {
        "who": facts.sub,
        "roles": ", ".join(facts.roles),
        "permission": facts.perm,
        "paid by grant": facts.grant,
        "revision": facts.rev,
        "transaction": facts.txn,
        "ended": moment(record.at),
        "whole answer": "yes" if record.complete else f"no, cut: {record.cut}" if record.cut else "no",
    }


def _edge(edge: EdgeLine | None) -> Mapping[str, str]:
    if edge is None:
        return {}
    return {
        "verdict": f"refused: {edge.reason}" if edge.layer == "edge" else "permitted",
        "request": f"{edge.method} {edge.path}",
        "model": edge.model,
        "status": edge.status,
        "decision": {"HIT": "from the cache", "MISS": "fresh", "EXPIRED": "fresh"}.get(
            edge.cache, edge.cache
        ),
        "sent to": edge.guard,
        "took": f"{seconds(edge.dur) * 1000:.0f} ms",
        "bytes": f"{number(edge.bytes_in)} in, {number(edge.bytes)} out",
        "client": edge.ip,
        "connection": f"{edge.conn}, request {edge.creq} on it",
    }


def _guard(guard: GuardLine | None) -> Mapping[str, str]:
    if guard is None:
        return {}
    reason = guard_refusal(guard)
    return {
        "verdict": f"refused: {reason}" if reason else "permitted",
        "request": f"{guard.method} {guard.path}",
        "status": guard.status,
        "details": " ".join(filter(None, (guard.details, guard.flags.strip("-")))),
        "guard": guard.guard,
        "peer": guard.peer,
        "peer's serial": guard.serial,
        "verified": " ".join(filter(None, (guard.sub, guard.scope))),
        "upstream": guard.upstream,
        "took": f"{seconds(guard.dur):.0f} ms",
        "bytes": f"{number(guard.bytes_in)} in, {number(guard.bytes)} out",
        "connection": guard.conn,
    }


def _digests(record: Record) -> Mapping[str, str]:
    """Only what a hop measured is claimed; what it was told is called told."""
    edge, guard = record.edge, record.guard
    told = told_digest(guard) if guard else ""
    return {
        "prompt": f"{edge.reqd} measured by the edge" if edge and edge.reqd else "",
        "": f"{told} told to the guard" if told else "",
        "answer": f"{edge.resd} measured by the edge" if edge and edge.resd else "",
    }


def _recent(store: Records, now: float) -> str:
    counts: Counter[str] = Counter()
    for tally in store.refusals(now - RECENT):
        counts[tally.reason] += tally.count
    return _told(counts)


def _told(counts: Counter[str]) -> str:
    told = ", ".join(f"{count} {reason or 'without a reason'}" for reason, count in counts.most_common())
    return f"in the last {RECENT // 60} minutes: {told}" if told else ""
