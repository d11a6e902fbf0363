"""What a policy's values are once they were read: frozen, and spelled by `str` as a policy spells them.

Nothing here reads a text: `policy.grammar` does. Durations are seconds, sizes bytes, instants seconds since the
Unix epoch.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Generic, TypeVar

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

PERIODS = {"s": 1, "min": 60, "hour": 3600, "day": 86400}
"""What a rate may be per, in seconds."""
_PERIOD = {seconds: period for period, seconds in PERIODS.items()}

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Written(Generic[Value]):
    """A value that can be spelled in several ways, and the way its author chose.

    Equal only if written alike, as equal policies are: `60s` and `1m` have one `value`.
    """

    text: str
    value: Value

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `count` in every `seconds`, which are a second, a minute, an hour or a day."""

    count: int
    seconds: int

    def __str__(self) -> str:
        return f"{self.count}/{_PERIOD[self.seconds]}"


@dataclass(frozen=True, slots=True)
class Hours:
    """A weekly window. Days count from Monday = 0; minutes from midnight, end exclusive and up to 1440.

    An end before the start runs past midnight and belongs to the day on which it starts.
    """

    days: frozenset[int]
    start: int
    end: int
    zone: str


@dataclass(frozen=True, slots=True, order=True)
class Route:
    """One exact HTTP route of a model server, below its base."""

    method: str
    path: str

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


@dataclass(frozen=True, slots=True)
class Listen:
    """An address to listen at; `host` without brackets."""

    host: str
    port: int
