"""`apply` to a cluster: from what it has of ours to what it is to have, or back.

1. Take the turn. Whoever comes meanwhile is refused (exit 3).
2. Prepare: what is there, what was applied last, who gains and who loses, and the steps (`order`).
3. Refuse another change than the reviewed one (exit 3), and one that widens without leave (exit 4).
4. Have the API server judge every object without taking it: what it refuses is refused before anything changes.
5. Record what is being applied.
6. Take the steps. Refused in the middle, go back to what was there, by steps planned the same way.
7. See that the API server has every object as it is wanted, and ask whoever can be asked whether it arrived.
8. Record it as applied. That is the moment at which the cluster changes its revision.

Ended anywhere, or without an answer, it leaves what neither side opens; the next apply goes on from what it finds.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from meshward.cluster.arrival import Arrival, arrival, describe_arrivals
from meshward.cluster.connection import Object, Server
from meshward.cluster.inventory import take_stock
from meshward.cluster.lease import Turn, turn
from meshward.cluster.manifest import Key, key_of
from meshward.cluster.order import plan_steps
from meshward.cluster.ownership import OWNER
from meshward.cluster.preparing import Prepared, Wanted, prepare
from meshward.cluster.record import Applied, Record, write_record
from meshward.cluster.refusals import Refused, refused_error
from meshward.cluster.writing import Pause, Say, Writer
from meshward.compare.change import Change
from meshward.kit import codes
from meshward.kit.errors import MeshwardError

WIDENING, TAKEOVER = "widening", "takeover"
_WHO = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
_POLLS, _POLL = 10, 0.5  # how often, and after how many seconds, a controller is looked at


@dataclass(frozen=True, slots=True)
class ApplyRequest:
    """On which terms. `reviewed`: the digest of the change that was reviewed."""

    reason: str = ""
    allow: frozenset[str] = frozenset()
    reviewed: str | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """`change` is None where all of it is there already. `arrived`: what is known of each kind, for people."""

    revision: int
    change: Change | None
    written: int
    removed: int
    arrived: tuple[str, ...]
    left: Mapping[Key, Sequence[str]]
    seconds: float


def apply(
    server: Server, wanted: Wanted, request: ApplyRequest, say: Say, pause: Pause = time.sleep
) -> Outcome:
    """Raises MeshwardError as told above."""
    began = time.monotonic()
    author = who_asks(server)
    _require_writer(wanted, author)
    with turn(server, wanted.place.lease, author, pause) as held:  # 1
        prepared = prepare(server, wanted, takeover=TAKEOVER in request.allow)  # 2
        _require_allowed(prepared, request)  # 3
        new = _applied(wanted, prepared.record, author, request.reason)
        if not prepared.steps and _is_applied(prepared.record, new):
            revision = prepared.record.applied.revision if prepared.record.applied else 0
            return Outcome(revision, None, 0, 0, (), prepared.stock.left, time.monotonic() - began)
        writer = Writer(server, prepared.stock, held, pause, TAKEOVER in request.allow)
        _try_out(writer, prepared, wanted)  # 4
        _write(server, wanted, Record(prepared.record.applied, new))  # 5
        try:
            writer.carry_out(prepared.steps, say)  # 6
            taken = _require_taken(server, wanted, pause, held)  # 7
        except MeshwardError as error:
            if error.code is codes.CLUSTER_UNREACHABLE or error.code is codes.APPLIED_BY_ANOTHER:
                raise
            say("going back")
            _go_back(writer, wanted, prepared, error)
            raise
        _write(server, wanted, Record(new))  # 8
        written = sum(edit.do != "remove" for edit in prepared.edits)
        return Outcome(
            new.revision,
            prepared.change,
            written,
            len(prepared.edits) - written,
            tuple(describe_arrivals(taken)),
            prepared.stock.left,
            time.monotonic() - began,
        )


def who_asks(server: Server) -> str:
    """The user, as the API server names them; empty where it does not say."""
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    try:
        answer = server.create(_WHO, body)
    except Refused as refused:
        if refused.refusal.status == 401:
            raise refused_error(refused.refusal, "who asks", server.name) from None
        return ""
    return str(((answer.get("status") or {}).get("userInfo") or {}).get("username") or "")


def _require_writer(wanted: Wanted, author: str) -> None:
    if wanted.writer is not None and author != wanted.writer:
        message = f"afterwards only `{wanted.writer}` may write, and `{author}` asks"
        raise MeshwardError(codes.NOT_THE_OWNER, message)


def _require_allowed(prepared: Prepared, request: ApplyRequest) -> None:
    change = prepared.change
    if request.reviewed is not None and request.reviewed != change.digest:
        message = (
            f"this is another change ({change.digest[:12]}) than the reviewed one ({request.reviewed[:12]})"
        )
        raise MeshwardError(codes.NOT_THE_REVIEWED, message)
    if WIDENING in request.allow or not prepared.needs_leave:
        return
    if prepared.unknown:
        raise MeshwardError(codes.RECORD_UNREADABLE, prepared.unknown)
    raise MeshwardError(codes.CLUSTER_WIDENS, f"this widens access: {'; '.join(change.widening)}")


def _applied(wanted: Wanted, record: Record, author: str, reason: str) -> Applied:
    return Applied(record.next_revision, wanted.policy, wanted.site, author, time.time(), reason)


def _is_applied(record: Record, new: Applied) -> bool:
    there = record.applied
    return (
        record.applying is None and there is not None and (there.policy, there.site) == (new.policy, new.site)
    )


def _try_out(writer: Writer, prepared: Prepared, wanted: Wanted) -> None:
    objects = wanted.objects
    written = [edit.key for edit in prepared.edits if edit.do != "remove"]
    gone = [edit.key for edit in prepared.edits if edit.do == "remove"]
    writer.try_out([objects[key] for key in written], gone, written)


def _write(server: Server, wanted: Wanted, record: Record) -> None:
    marks: Object = {
        "labels": {"app.kubernetes.io/managed-by": "meshward"},
        "annotations": {OWNER: wanted.owner},
    }
    try:
        write_record(server, wanted.place, record, marks)
    except Refused as refused:
        raise refused_error(refused.refusal, "the record of what is applied", server.name) from None


def _require_taken(server: Server, wanted: Wanted, pause: Pause, held: Turn) -> list[Object]:
    """Every object as the server has it. Raises MeshwardError (MW5069) for one that is not as wanted."""
    for _ in range(_POLLS):
        stock = take_stock(server, wanted.objects, wanted.owner)
        live = stock.live(wanted.objects)
        for key in sorted({*live, *wanted.objects}):
            if live.get(key) != wanted.objects.get(key):
                raise MeshwardError(codes.CHANGED_MEANWHILE, f"{key} is not what was written")
        if not any(arrival(each) is Arrival.UNSAID for each in stock.raw.values()):
            break
        held.keep()
        pause(_POLL)
    return [each for each in stock.raw.values() if key_of(each) in wanted.objects]


def _go_back(writer: Writer, wanted: Wanted, prepared: Prepared, error: MeshwardError) -> None:
    """To what was there. Raises MeshwardError (MW5071) where that is not taken whole."""
    before = dict(prepared.live)
    try:
        stock = take_stock(writer.server, before, wanted.owner, takeover=True)
        steps = plan_steps(stock.live(before), before, wanted.root_namespace)
        back = Writer(writer.server, stock, writer.turn, writer.pause, writer.takeover)
        back.carry_out(steps, lambda _: None)
        _write(writer.server, wanted, Record(prepared.record.applied))
    except MeshwardError as second:
        message = f"{error.message}; and on the way back: {second.message}"
        raise MeshwardError(codes.CLUSTER_HALF_WAY, message) from error
