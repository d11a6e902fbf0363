"""How a difference is told: by an example of what is permitted now and was not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address

from meshward.compare.boxes import UNKNOWN, Axis, Box, whole
from meshward.compare.conditions import DIRECTLY, IS_PERSON, NO_PERSON
from meshward.compare.places import Permission, Place
from meshward.compare.spans import FAR
from meshward.kit.dates import calendar
from meshward.kit.text import join_words
from meshward.plan.ir import Member

STOPPED = "the deny {} stops them no more"
STOPS = "the deny {} stops them"
SHOWN = 3
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_UNITS = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))
_PERSONS = {IS_PERSON: "as a person", NO_PERSON: "as a program"}


def describe(box: Box, piece: Box, callers: Sequence[str]) -> str:
    """In what `piece` is narrower than `box`, of which it is a part: an example on each axis."""
    narrower = [axis for axis, span in piece.items() if span != box.get(axis, whole(axis))]
    words = [_example(axis, piece[axis].first, callers) for axis in narrower]
    return ", ".join(word for word in words if word)


def _example(axis: Axis, first: int, callers: Sequence[str]) -> str:
    kind, which = axis
    if kind == "time":
        return f"from {instant_text(first)} on" if first > -FAR else "at earlier times"
    if kind == "hours":
        return f"as on {_DAYS[first // 1440]} {first // 60 % 24:02}:{first % 60:02} {which}"
    if kind == "source":
        return f"as from {_address(first)}" if first != UNKNOWN else "from an address that is not known"
    if kind == "fresh":
        return (
            "with a login of unknown age" if first == UNKNOWN else f"with a login {duration_text(first)} old"
        )
    if kind == "via":
        return "directly" if first == DIRECTLY else f"called by {callers[first - 1]}"
    if kind == "person":
        return _PERSONS.get(first, "where nobody can tell whether a person asks")
    if kind == "agent":
        name = which[0] if isinstance(which, tuple) else which
        return f"through the agent {name}" if first else f"without the agent {name}"
    return "once somebody has asked for it" if first else ""


def _address(number: int) -> str:
    above = number - (1 << 32)
    return str(IPv4Address(number) if above < 0 else IPv6Address(above))


def place_text(permission: Permission, before: Sequence[Permission], places: Sequence[Place]) -> str:
    """`at unix:/run/b.sock, which was b.manage`, with the routes where they mean something else than they did."""
    servers = list(dict.fromkeys(place.server for place in places))
    names = [f"`{name}`" for name in dict.fromkeys(place.name for place in places) if name]
    same = all(action == permission[1] for _, action in before)
    routes = [] if same else [str(route) for route in dict.fromkeys(place.route for place in places)]
    where = (f"on {some_text(routes)} " if routes else "") + f"at {some_text(servers)}"
    as_what = f" as {some_text(names)}" if same and names else ""
    was = join_words((".".join(each) for each in before), "and") or "out of everybody's reach"
    return f"{where}{as_what}, which was {was}"


def opened_text(permission: Permission, where: str) -> str:
    """Of a managed route that a lesser permission leads to, though nobody has that yet."""
    return f"{'.'.join(permission)} comes to lead {where}: whoever is given it may do that"


def some_text(words: Sequence[str], shown: int = SHOWN) -> str:
    """The first of them, and how many more there are."""
    more = [f"{len(words) - shown} more"] if len(words) > shown else []
    return join_words([*words[:shown], *more], "and")


def member_text(line: Member) -> str:
    """A member as a sentence names it: `group science of corp`."""
    asked: Iterable[tuple[str, object]] = [
        ("group", line.group), ("subject", line.subject), ("workload", line.workload),
        *((f"claim {name} =", _claim(value)) for name, value in line.claims),
    ]  # fmt: skip
    text = " and ".join(f"{what} {value}" for what, value in asked if value is not None) or "nobody"
    return f"{text} of {line.issuer}" if line.issuer else text


def _claim(value: str | int | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def instant_text(at: int) -> str:
    return calendar(at).strftime("%Y-%m-%d %H:%M UTC")


def duration_text(seconds: int) -> str:
    size, unit = next((size, unit) for size, unit in _UNITS if seconds % size == 0)
    return f"{seconds // size}{unit}"
