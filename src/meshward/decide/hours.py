"""Weekly windows in a time zone: whether an instant lies in one, and when that can next change."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from meshward.policy.values import Hours

_DAY = 24 * 60


def within(hours: Hours, at: int) -> bool:
    """Whether wall clocks in the window's zone show a time inside it at `at` (seconds since the epoch).

    A window whose end lies before its start runs past midnight and belongs to the day on which it starts.
    """
    local = datetime.fromtimestamp(at, ZoneInfo(hours.zone))
    day, minute = local.weekday(), local.hour * 60 + local.minute
    if hours.start <= hours.end:
        return day in hours.days and hours.start <= minute < hours.end
    started_today = day in hours.days and minute >= hours.start
    return started_today or ((day - 1) % 7 in hours.days and minute < hours.end)


def next_change(hours: Hours, at: int) -> int:
    """An instant after `at` before which `within` keeps its answer; at most a little over a day away."""
    zone = ZoneInfo(hours.zone)
    today = datetime.fromtimestamp(at, zone).date()
    edge = min(instant for instant in _edges(hours, today, zone) if instant > at)
    return _clock_change(zone, at, edge) or edge


def _edges(hours: Hours, today: date, zone: ZoneInfo) -> Iterator[int]:
    for offset in (0, 1):
        midnight = datetime.combine(today + timedelta(days=offset), datetime.min.time())
        for minute in (hours.start, hours.end % _DAY):
            wall = midnight + timedelta(minutes=minute)
            for fold in (0, 1):  # a wall time may come twice when clocks go back
                yield int(wall.replace(tzinfo=zone, fold=fold).timestamp())


def _clock_change(zone: ZoneInfo, start: int, end: int) -> int | None:
    """The first second whose offset in the zone is not that of `start`, if there is one up to `end`."""

    def offset(instant: int) -> timedelta | None:
        return datetime.fromtimestamp(instant, zone).utcoffset()

    before = offset(start)
    if offset(end) == before:
        return None
    while end - start > 1:
        middle = (start + end) // 2
        start, end = (middle, end) if offset(middle) == before else (start, middle)
    return end
