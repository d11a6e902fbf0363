"""How denials and explanations word it: durations, windows, callers, and who may be meant by a role's line."""

from __future__ import annotations

from meshward.decide.types import Identity
from meshward.kit.text import join_words
from meshward.plan.ir import Member
from meshward.policy.values import Hours

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_UNITS = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))


def duration(seconds: int) -> str:
    """The shortest spelling in one unit: 43200 is `12h`."""
    size, unit = next((size, unit) for size, unit in _UNITS if seconds % size == 0)
    return f"{seconds // size}{unit}"


def weekly(hours: Hours) -> str:
    """As the policy spells it: `Mon-Fri 08:00-18:00 Europe/Berlin`; days that do not adjoin are listed."""
    return f"{_days(sorted(hours.days))} {_clock(hours.start)}-{_clock(hours.end)} {hours.zone}"


def caller(identity: Identity) -> str:
    """Who asks, as far as it is known."""
    if identity.issuer is not None and identity.subject is None:
        return f"somebody from {identity.issuer}"
    return identity.name if identity.issuer is not None or identity.workload is not None else "nobody"


def member(line: Member) -> str:
    """Who a role's line speaks of, without subjects and claims' values: those are other people's."""
    parts = [line.issuer] if line.issuer else []
    if line.group is not None:
        parts.append(f"group {line.group}")
    if line.claims:
        parts.append(f"claims {join_words((key for key, _ in line.claims), 'and')}")
    if line.subject is not None:
        parts.append("one named subject")
    if line.workload is not None:
        parts.append(f"workload {line.workload}")
    return " ".join(parts)


def _days(days: list[int]) -> str:
    if len(days) > 2 and days == list(range(days[0], days[-1] + 1)):
        return f"{_DAYS[days[0]]}-{_DAYS[days[-1]]}"
    return ",".join(_DAYS[day] for day in days)


def _clock(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"
