"""Where a policy may send something: URLs of servers and issuers, and the hosts that are never one."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Network
from typing import NamedTuple

from meshward.kit.names import LONGEST_SOCKET
from meshward.kit.text import quoted
from meshward.policy.values import Address, Unreadable, address_of

_METADATA_NAMES = frozenset(
    {"metadata", "metadata.google.internal", "instance-data", "instance-data.ec2.internal"}
)
_METADATA = frozenset(
    {"fd00:ec2::254", "fd20:ce::254", "100.100.100.200", "168.63.129.16", "255.255.255.255"}
)
_NAT64 = IPv6Network("64:ff9b::/96")


class Url(NamedTuple):
    """An absolute http or https URL; `host` without brackets, `port` None where the URL has none."""

    scheme: str
    host: str
    port: int | None
    path: str

    @property
    def address(self) -> Address | None:
        """The host if it is an address."""
        return address_of(self.host)


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


def parse_server_url(text: str) -> Url | str:
    """Where a model server answers: `unix:/path` -> the path; `http(s)://host[:port]` -> its parts."""
    if text.startswith("unix:"):
        return _socket_path(text)
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


def server_key(text: str) -> str:
    """Equal for two spellings of one server: `localhost` and `127.0.0.1`, with or without the last slash."""
    url = parse_server_url(text)
    if isinstance(url, str):
        return f"unix:{url}"
    host = "127.0.0.1" if url.host.lower() == "localhost" else str(url.address or url.host.lower())
    return f"{url.scheme}://{host}:{url.port or (443 if url.scheme == 'https' else 80)}"


def crosses_in_clear(text: str) -> bool:
    """Whether what is sent to this server leaves the machine without TLS."""
    url = parse_server_url(text)
    return not isinstance(url, str) and url.scheme == "http" and not is_loopback(url.host)


def is_forbidden_host(host: str) -> bool:
    """Whether `host` is an address or name that no policy may send anything to: link-local, multicast,
    unspecified, or a cloud's metadata service, also when wrapped in an IPv6 address.
    """
    address = address_of(host)
    if address is None:
        return host.lower().rstrip(".") in _METADATA_NAMES
    inner = _embedded(address)
    if inner is not None:
        return is_forbidden_host(str(inner))
    return (
        address.is_link_local or address.is_multicast or address.is_unspecified or str(address) in _METADATA
    )


def is_loopback(host: str) -> bool:
    """Whether `host` is this machine, by address or as `localhost`."""
    address = address_of(host)
    return host == "localhost" if address is None else address.is_loopback


def _embedded(address: Address) -> IPv4Address | None:
    """The IPv4 address that an IPv6 one carries: mapped, 6to4 or NAT64."""
    if isinstance(address, IPv4Address):
        return None
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour


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


def _socket_path(text: str) -> str:
    path = text.removeprefix("unix:")
    if not re.fullmatch(r"(/(?!\.{1,2}(/|$))[A-Za-z0-9._@+=,-]+)+", path, re.ASCII):
        raise Unreadable(
            f"{quoted(text)} is not a socket's path", "write an absolute one, like `unix:/run/m/v1.sock`"
        )
    if len(path) > LONGEST_SOCKET:
        raise Unreadable(
            f"{quoted(text)} is too long for a socket", f"use at most {LONGEST_SOCKET} characters"
        )
    return path
