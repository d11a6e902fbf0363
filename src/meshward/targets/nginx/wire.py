"""What nginx and Python say to each other: every header, rate and route in its one spelling.

nginx asks with `Header`s that it sets itself and reads those that it gets back (`lua/decision.lua`).
Nothing of a client or a model passes under these names. `tests/nginx/test_wire.py` holds this page against the script.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from ipaddress import IPv4Address, IPv6Address, ip_address
from string import ascii_letters, digits
from types import MappingProxyType

from meshward.policy.values import Rate

PREFIX = b"x-mw-"


class Header(StrEnum):
    """The names. The first ten are nginx's questions, the others the answers to them."""

    AUTHORIZATION = "X-Mw-Authorization"  # as the client sent it
    METHOD = "X-Mw-Method"
    MODEL = "X-Mw-Model"  # percent-encoded, as the client spelled it
    PATH = "X-Mw-Path"  # below the model's base, without the query
    FRONT = "X-Mw-Front"  # `m` or `v1`
    ADDR = "X-Mw-Addr"  # the client's address
    VERIFY = "X-Mw-Verify"  # nginx's verdict on the client certificate: `NONE`, `SUCCESS`, or what is wrong
    CERTIFICATE = "X-Mw-Certificate"  # percent-encoded PEM
    RID = "X-Mw-Rid"  # the request's id
    NET = "X-Mw-Net"  # whom the address counts as, for limits: an IPv6 address by its /64
    ORIGIN = "X-Mw-Origin"  # set where a browser's page asks

    STATUS = "X-Mw-Status"  # the client's
    REASON = "X-Mw-Reason"  # a stable word
    MESSAGE = "X-Mw-Message"  # one line of printable ASCII
    CHALLENGE = "X-Mw-Challenge"  # the WWW-Authenticate that the client gets
    ROUTE = "X-Mw-Route"  # `route_text`
    TIMES = "X-Mw-Times"  # `times_text`
    NAMES = "X-Mw-Names"  # `names_text`; not sent where a body's `model` is not looked at
    LIMIT = "X-Mw-Limit"  # `rate_text`
    BUCKET = "X-Mw-Bucket"  # 32 hex digits: who is counted together
    TXN_TOKEN = "X-Mw-Txn-Token"  # noqa: S105  a header's name
    TIES = "X-Mw-Ties"  # whose revocation ends the answer: 32 hex digits each
    ENDS = "X-Mw-Ends"  # seconds since the epoch at which a running answer is ended
    FACTS = "X-Mw-Facts"  # base64url JSON, for the log
    TTL = "X-Mw-Ttl"  # the whole seconds for which the answer may be used again; 0, or none: not at all

    @cached_property
    def raw(self) -> bytes:
        """As ASGI spells it."""
        return self.lower().encode()

    @property
    def received(self) -> str:
        """nginx's variable that holds it where nginx is asked."""
        return f"http_{self._variable}"

    @property
    def _variable(self) -> str:
        return self.lower().replace("-", "_")


QUESTION: Mapping[Header, str] = MappingProxyType(
    {
        Header.AUTHORIZATION: "http_authorization",
        Header.METHOD: "mw_method",
        Header.MODEL: "mw_model",
        Header.PATH: "mw_path",
        Header.FRONT: "mw_front",
        Header.ADDR: "remote_addr",
        Header.VERIFY: "ssl_client_verify",
        Header.CERTIFICATE: "ssl_client_escaped_cert",  # empty, so not sent, where there is none
    }
)
"""All that a decision is made from, and nginx's variable for it. Each is in the key of `lua/request.lua`."""

_SLOT = re.compile(r"[0-9]{2}", re.ASCII)
_AUTHORITY = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)+", re.ASCII)
_UNITS = {1: "s", 60: "m"}
_UNRESERVED = frozenset(f"{ascii_letters}{digits}-._~".encode())
_SPELLED = tuple(chr(byte) if byte in _UNRESERVED else f"%{byte:02X}" for byte in range(256))


def counts(rate: Rate) -> bool:
    """Whether nginx can count it: its `limit_req` knows seconds and minutes, no hours and no days."""
    return rate.seconds in _UNITS


def rate_text(rate: Rate | None) -> str:
    """`<n>r/s` or `<n>r/m`; nothing where there is no limit. Raises ValueError for a rate that nginx cannot count."""
    if rate is None:
        return ""
    if not counts(rate):
        raise ValueError(f"nginx counts per second or minute, not per {rate.seconds} s")
    return f"{rate.count}r/{_UNITS[rate.seconds]}"


def rate_count(text: str) -> int:
    """The `n` of a `rate_text`."""
    return int(text.partition("r/")[0])


Address = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class Slot:
    """A guard of this machine, in the slot of these two digits."""

    digits: str

    def __post_init__(self) -> None:
        _demand(_SLOT.fullmatch(self.digits), self.digits)

    def __str__(self) -> str:
        return self.digits


@dataclass(frozen=True, slots=True)
class Far:
    """A guard of ours elsewhere, by mutual TLS: its SVID has the version's DNS name, which the edge verifies."""

    address: Address
    port: int

    def __post_init__(self) -> None:
        _demand_socket(self.address, self.port)

    def __str__(self) -> str:
        return f"far/{_socket_text(self.address, self.port)}"


@dataclass(frozen=True, slots=True)
class Near:
    """A service of a mesh, by its name, in plain HTTP to a listener of the edge's own sidecar on the loopback."""

    address: Address
    port: int
    authority: str  # the whole name of the service, without a port

    def __post_init__(self) -> None:
        _demand_socket(self.address, self.port)
        _demand(self.address.is_loopback, str(self.address))  # a token goes there in clear
        _demand(len(self.authority) <= 253 and _AUTHORITY.fullmatch(self.authority), self.authority)

    def __str__(self) -> str:
        return f"near/{_socket_text(self.address, self.port)}/{self.authority}"


Place = Slot | Far | Near


def read_place(word: str) -> Place:
    """`str` of a place, read back. Raises ValueError for what is none."""
    kind, _, rest = word.partition("/")
    if kind not in ("far", "near"):
        return Slot(word)
    where, _, authority = rest.partition("/")
    host, _, port = where.rpartition(":")
    address = ip_address(host.removeprefix("[").removesuffix("]"))
    place = Near(address, int(port), authority) if kind == "near" else Far(address, int(port))
    _demand(str(place) == word, word)
    return place


def _demand_socket(address: Address, port: int) -> None:
    _demand(0 < port < 65536, str(port))
    plain = not address.is_unspecified and not address.is_multicast
    _demand(plain and (address.version == 4 or not (address.scope_id or address.ipv4_mapped)), str(address))


def _socket_text(address: Address, port: int) -> str:
    return f"{address}:{port}" if address.version == 4 else f"[{address}]:{port}"


def _demand(fine: object, text: str) -> None:
    """Raises ValueError: what is not what `lua/place.lua` takes is not said."""
    if not fine:
        raise ValueError(f"nginx can be sent to no such place: {text!r}")


@dataclass(frozen=True, slots=True)
class Choice:
    """A version that may answer: its weight, where its guard is, the DNS name by which the guard is known.

    `called`: what its server calls the model, where a body's `model` is to become that.
    """

    weight: int
    place: Place
    dns_name: str
    called: str | None = None

    def __str__(self) -> str:
        words = f"{self.weight} {self.place} {self.dns_name}"
        return words if self.called is None else f"{words} {_one_word(self.called)}"


def route_text(max_body: int, choices: Iterable[Choice]) -> str:
    """`<max_body>|<weight> <place> <dns name>[ <server's name>]|...`, in bytes and in the order of the versions.

    A place is a slot's two digits, `far/<address>:<port>` or `near/<address>:<port>/<authority>`. Where a version has
    a fourth word, a body must name its model, and that name becomes this word.
    """
    return "|".join([str(max_body), *map(str, choices)])


def times_text(silence: int, whole: int) -> str:
    """`<silence> <whole>`: seconds for which nothing may come of an answer, and that its request may last in all."""
    return f"{silence} {whole}"


def names_text(names: Iterable[str]) -> str:
    """The names that a body's `model` may have, percent-encoded, with a space between two."""
    return " ".join(map(_one_word, names))


def _one_word(text: str) -> str:
    """RFC 3986: what is not unreserved is percent-encoded, so there is no space, `|` or line break."""
    return "".join([_SPELLED[byte] for byte in text.encode()])
