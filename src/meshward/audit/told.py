"""What the records lack, in sentences: for `status`, which raises an alarm, and for `trace`."""

from __future__ import annotations

from meshward.audit.keeping import ALMOST
from meshward.audit.records import Records
from meshward.audit.tail import ERASED_UNREAD, GONE, REMOVED, REPLACED, TRUNCATED
from meshward.kit.clock import moment
from meshward.kit.codes import RECORDS_LOST

ALARM = 86_400.0
"""Seconds for which a loss is an alarm; then it is told only. It stays in the records."""
_WHY = {
    TRUNCATED: "was cut or put back while it was followed",
    REPLACED: "is another file than the one that was read",
    GONE: "was removed before all of it was read",
    REMOVED: "was removed while it is still written: start the instance again",
    ERASED_UNREAD: "was erased by somebody else before it was read",
    "request_id_flood": "had more lines under one request id than a record takes",
}


def gap_sentences(store: Records, since: float = 0.0) -> list[str]:
    """One for each log and reason, the latest last."""
    return [
        f"{gap.where} {_WHY.get(gap.reason, f'held lines that are no records ({gap.reason})')}, "
        f"{gap.count} times, the last at {moment(gap.second)}"
        for gap in store.gap_sums(since)
    ]


def alarms(store: Records, now: float) -> list[str]:
    """What was lost, or may have been, and noticed not long ago."""
    since = now - ALARM
    told = [
        f"RECORDS WERE LOST ({RECORDS_LOST.number}, noticed {moment(loss.noticed)}): {loss.sentence}"
        for loss in store.losses()
        if loss.noticed >= since
    ]
    return told + [f"LINES MAY BE LOST: {gap}" for gap in gap_sentences(store, since)]


def lost_before(store: Records, now: float) -> list[str]:
    """The losses that are no alarm any more."""
    old = [loss for loss in store.losses() if loss.noticed < now - ALARM]
    return (
        [f"records were lost {len(old)} times before, the last was noticed {moment(old[-1].noticed)}"]
        if old
        else []
    )


def room_alarms(size: int, room: int | None) -> list[str]:
    """Before records take all the room that they may take."""
    if room is None or size < ALMOST * room:
        return []
    return [
        f"RECORDS TAKE {size * 100 // room} % of `audit.max_disk` ({size} of {room} bytes): when all is taken, "
        "`audit.on_blind` decides about requests"
    ]
