"""The small grammars inside a policy's values: one parser each, bounded.

Every parser takes the text as it stands in the file and raises `Unreadable` (a ValueError) with a sentence
and a remedy. It is asked once, when the file is read: what comes after holds `policy.values`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime
from ipaddress import IPv6Network, ip_network
from zoneinfo import ZoneInfo

from meshward.kit.names import LONGEST_SOCKET
from meshward.kit.text import quoted
from meshward.policy.urls import ServerUrl, UnixSocket, Url, address_of, is_forbidden_host
from meshward.policy.values import PERIODS, Address, Hours, Listen, Network, Rate, Route, Value, Written

_DAY = 86400
_LONGEST = 36525 * _DAY
_LARGEST = 256 * 1024 * 1024
_MOST = 10**9
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": _DAY}
_SIZES = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3}
_ROOMS = {"m": 1024**2, "g": 1024**3, "t": 1024**4}
_LEAST_ROOM, _MOST_ROOM = 64 * 1024**2, 1000 * 1024**4
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")

DURATION = r"^[1-9][0-9]{0,9}[smhd]$"
SIZE = r"^[1-9][0-9]{0,9}[kmg]?$"
ROOM = r"^([1-9][0-9]{0,5})([mgt])$"
RATE = r"^[1-9][0-9]{0,9}/(s|min|hour|day)$"
HOURS = r"^[A-Z][a-z]{2}([,-][A-Z][a-z]{2})* [0-9]{2}:[0-9]{2}-[0-9]{2}:[0-9]{2} [A-Za-z0-9_+/-]+$"
DATE = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2}:[0-9]{2}(Z|[+-][0-9]{2}:[0-9]{2}))?$"
INSTANT = (
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}( [0-9]{2}:[0-9]{2}|T[0-9]{2}:[0-9]{2}:[0-9]{2}(Z|[+-][0-9]{2}:[0-9]{2}))$"
)
ROUTE = r"^(GET|HEAD|POST|PUT|PATCH|DELETE) /[A-Za-z0-9._~:@/-]*$"


class Unreadable(ValueError):
    """A value whose text does not follow its grammar. `cause` says what is wrong, `remedy` what to write."""

    def __init__(self, cause: str, remedy: str) -> None:
        super().__init__(f"{cause}: {remedy}")
        self.cause = cause
        self.remedy = remedy


def parse_written(parse: Callable[[str], Value], text: str) -> Written[Value]:
    """`text` as `parse` reads it, with its spelling kept."""
    return Written(text, parse(text))


def parse_duration(text: str) -> int:
    """`60s`, `10m`, `24h`, `183d` -> seconds, at most 100 years."""
    if not re.fullmatch(DURATION, text, re.ASCII):
        raise Unreadable(
            f"{quoted(text)} is not a duration", "write a number and s, m, h or d, like `90s` or `24h`"
        )
    seconds = int(text[:-1]) * _UNITS[text[-1]]
    if seconds > _LONGEST:
        raise Unreadable(f"{quoted(text)} is longer than 100 years", "write a shorter duration")
    return seconds


def parse_size(text: str) -> int:
    """`512k`, `2m` -> bytes (k = 1024), at most 256m: a body is kept in memory while it is digested."""
    matched = re.fullmatch(r"([1-9][0-9]{0,9})([kmg]?)", text, re.ASCII)
    if not matched:
        raise Unreadable(
            f"{quoted(text)} is not a size", "write a number of bytes, or with k or m, like `512k`"
        )
    size = int(matched[1]) * _SIZES[matched[2]]
    if size > _LARGEST:
        raise Unreadable(f"{quoted(text)} is too large: bodies are kept in memory", "write at most `256m`")
    return size


def parse_room(text: str) -> int:
    """`500m`, `20g`, `2t` -> bytes, from 64m to 1000t."""
    matched = re.fullmatch(ROOM, text, re.ASCII)
    if not matched:
        raise Unreadable(f"{quoted(text)} is no room on a disk", "write a number and m, g or t, like `20g`")
    room = int(matched[1]) * _ROOMS[matched[2]]
    if not _LEAST_ROOM <= room <= _MOST_ROOM:
        raise Unreadable(
            f"{quoted(text)} is too little or too much", "write at least `64m` and at most `1000t`"
        )
    return room


def parse_rate(text: str) -> Rate:
    """`10/s`, `600/min`, `100/hour`, `200000/day` -> number and seconds, at most 10^9."""
    if not re.fullmatch(RATE, text, re.ASCII):
        raise Unreadable(
            f"{quoted(text)} is not a rate", "write a number per s, min, hour or day, like `600/min`"
        )
    number, period = text.split("/")
    if int(number) > _MOST:
        raise Unreadable(f"{quoted(text)} is more than can be counted", "write at most `1000000000`")
    return Rate(int(number), PERIODS[period])


def parse_hours(text: str) -> Hours:
    """`Mon-Fri 08:00-18:00 Europe/Berlin`; days also as `Mon,Wed` or `Fri-Mon`; an end up to 24:00."""
    if not re.fullmatch(HOURS, text, re.ASCII):
        raise _not_hours(text, "")
    days, window, zone = text.split(" ")
    start, end = (_minute(text, time) for time in window.split("-"))
    if start == end or start == 1440:
        raise _not_hours(text, ", because its window is empty")
    return Hours(_days(text, days), start, end, _zone(zone))


def parse_date(text: str) -> int:
    """`2027-03-31` -> the end of that day in UTC; `2027-03-31T12:00:00Z` -> that instant (RFC 3339)."""
    if not re.fullmatch(DATE, text, re.ASCII):
        raise _not_a_date(text)
    if "T" in text:
        return _instant(text)
    try:
        days = date.fromisoformat(text).toordinal() - date(1970, 1, 1).toordinal()
    except ValueError:
        days = -1
    if days < 0:
        raise _not_a_date(text)
    return (days + 1) * _DAY


def parse_instant(text: str) -> int:
    """`2026-11-23 10:00` (UTC) or `2026-11-23T10:00:00Z` (RFC 3339) -> seconds since the epoch."""
    if not re.fullmatch(INSTANT, text, re.ASCII):
        raise Unreadable(f"{quoted(text)} is not a time", "write it in UTC, like `2026-11-23 10:00`")
    return _instant(text.replace(" ", "T") + ":00Z" if " " in text else text)


def parse_address(text: str) -> Address:
    """One IPv4 or IPv6 address, without a zone."""
    address = address_of(text)
    if address is None:
        raise Unreadable(
            f"{quoted(text)} is not an IP address", "write one like `203.0.113.9` or `2001:db8::1`"
        )
    return address


def parse_network(text: str) -> Network:
    """`203.0.113.0/24`, `2001:db8::/32` or one address. Bits beyond the prefix must be 0."""
    try:
        network = ip_network(text if "%" not in text else "")
    except ValueError:
        raise _not_a_network(text) from None
    if isinstance(network, IPv6Network) and network.network_address.ipv4_mapped is not None:
        raise Unreadable(f"{quoted(text)} is an IPv4 network in disguise", "write the IPv4 network itself")
    return network


def parse_proxy_network(text: str) -> Network:
    """A network whose members may say who the client is: any but the whole internet."""
    network = parse_network(text)
    if network.prefixlen == 0:
        raise Unreadable(
            f"{quoted(text)} lets every caller choose its address", "name the proxies' own network"
        )
    return network


def parse_route(text: str) -> Route:
    """`POST /ask`, in the one spelling that the edge takes: no `%`, no empty, `.` or `..` segment."""
    method, _, path = text.partition(" ")
    if method not in _METHODS or len(path) > 256 or not re.fullmatch(ROUTE, text, re.ASCII):
        raise Unreadable(
            f"{quoted(text)} is not a route", "write a method and an exact path, like `POST /ask`"
        )
    if re.search(r"/(\.{1,2})?/|/\.{1,2}$", path):
        raise Unreadable(
            f"{quoted(text)} has an empty, `.` or `..` segment", "write the path in its plain form"
        )
    return Route(method, path)


def parse_url(text: str) -> Url:
    """An http or https URL without user, query or fragment, whose path has one spelling."""
    matched = re.fullmatch(
        r"(https?)://(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+))(?::([1-9][0-9]{0,4}))?((?:/[A-Za-z0-9._~:@+=,-]+)*/?)",
        text,
        re.ASCII,
    )
    if not matched or len(text) > 512 or int(matched[4] or 1) > 65535:
        raise Unreadable(
            f"{quoted(text)} is not a URL that can be used here",
            "write http:// or https://, a host and maybe a port, without user, query, fragment or `%`",
        )
    url = Url(matched[1], matched[2] or matched[3], int(matched[4]) if matched[4] else None, matched[5])
    if not _is_host(url.host, bracketed=bool(matched[2])) or re.search(r"/\.{1,2}(/|$)", url.path):
        raise Unreadable(
            f"{quoted(text)} has no proper host or path", "write a DNS name or a whole IP address"
        )
    return url


def parse_server_url(text: str) -> ServerUrl:
    """Where a model server answers: `unix:/path` or `http(s)://host[:port]`."""
    if text.startswith("unix:"):
        return _socket(text)
    url = parse_url(text)
    if url.path not in ("", "/"):
        raise Unreadable(
            f"{quoted(text)} has a path", "give the server's base; routes come from its server kind"
        )
    if is_forbidden_host(url.host):
        raise Unreadable(
            f"{quoted(text)} is no place for a model server", "no link-local or metadata address"
        )
    return url


def parse_listen(text: str) -> Listen:
    """`127.0.0.1:8443` or `[::1]:8443`."""
    matched = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+)):([1-9][0-9]{0,4})", text, re.ASCII)
    host = matched and address_of(matched[1] or matched[2])
    if not matched or not host or (host.version == 6) != bool(matched[1]) or int(matched[3]) > 65535:
        raise Unreadable(
            f"{quoted(text)} is not an address to listen at",
            "write an IP address and a port, like `127.0.0.1:8443` or `[::1]:8443`",
        )
    return Listen(str(host), int(matched[3]))


def parse_pointer(text: str) -> tuple[str, ...]:
    """A JSON pointer (RFC 6901) into a token's claims -> its reference tokens, unescaped."""
    if not re.fullmatch(r"(/([^/~]|~[01])+)+", text) or len(text) > 256:
        raise Unreadable(f"{quoted(text)} is not a JSON pointer", "write one like `/realm_access/roles`")
    return tuple(step.replace("~1", "/").replace("~0", "~") for step in text[1:].split("/"))


def _instant(text: str) -> int:
    """Raises Unreadable for what looks like RFC 3339 and is not (31 February), and for years before 1970."""
    try:
        instant = datetime.fromisoformat(text.replace("Z", "+00:00"))
        seconds = int((instant - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds())
    except (ValueError, OverflowError):
        raise _not_a_date(text) from None
    if seconds < 0:
        raise _not_a_date(text)
    return seconds


def _minute(text: str, time: str) -> int:
    hour, minute = int(time[:2]), int(time[3:])
    if hour > 24 or minute > 59 or (hour == 24 and minute):
        raise _not_hours(text, f", because {quoted(time)} is no time of day")
    return hour * 60 + minute


def _days(text: str, days: str) -> frozenset[int]:
    found: set[int] = set()
    for part in days.split(","):
        ends = part.split("-")
        if len(ends) > 2 or not set(ends) <= set(_DAYS):
            raise _not_hours(text, f", because {quoted(part)} names no days")
        first, last = _DAYS.index(ends[0]), _DAYS.index(ends[-1])
        found.update((first + offset) % 7 for offset in range((last - first) % 7 + 1))
    return frozenset(found)


def _zone(name: str) -> str:
    """Names that mean another zone on another machine are no zones here."""
    try:
        if name in ("localtime", "posixrules", "Factory") or name.startswith(("posix/", "right/")):
            raise ValueError(name)
        ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        raise Unreadable(
            f"{quoted(name)} is not a time zone", "write one like `Europe/Berlin` or `UTC`"
        ) from None
    return name


def _not_hours(text: str, why: str) -> Unreadable:
    return Unreadable(
        f"{quoted(text)} is not a weekly window{why}",
        "write days, hours and zone, like `Mon-Fri 08:00-18:00 Europe/Berlin`",
    )


def _not_a_date(text: str) -> Unreadable:
    return Unreadable(
        f"{quoted(text)} is not a date", "write one like `2027-03-31` or `2027-03-31T12:00:00Z`"
    )


def _not_a_network(text: str) -> Unreadable:
    try:
        plain = str(ip_network(text, strict=False)) if "%" not in text else ""
    except ValueError:
        plain = ""
    remedy = f"write `{plain}`" if plain else "write one like `203.0.113.0/24`"
    return Unreadable(f"{quoted(text)} is not a network", remedy)


def _is_host(host: str, *, bracketed: bool) -> bool:
    """A DNS name, or an address; a name that ends in a number is one only if it is a whole IPv4 address."""
    address = address_of(host)
    if bracketed or address is not None:
        return address is not None and (address.version == 6) == bracketed
    if re.search(r"(^|\.)(0[xX][0-9A-Fa-f]*|[0-9]+)$", host) or len(host) > 253:
        return False
    return all(
        re.fullmatch(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?", label) for label in host.split(".")
    )


def _socket(text: str) -> UnixSocket:
    path = text.removeprefix("unix:")
    if not re.fullmatch(r"(/(?!\.{1,2}(/|$))[A-Za-z0-9._@+=,-]+)+", path, re.ASCII):
        raise Unreadable(
            f"{quoted(text)} is not a socket's path", "write an absolute one, like `unix:/run/m/v1.sock`"
        )
    if len(path) > LONGEST_SOCKET:
        raise Unreadable(
            f"{quoted(text)} is too long for a socket", f"use at most {LONGEST_SOCKET} characters"
        )
    return UnixSocket(path)
