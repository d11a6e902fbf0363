"""Where a policy may send something: URLs of servers and issuers, and the hosts that are never one."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Network, ip_address

from meshward.policy.values import Address

_METADATA_NAMES = frozenset(
    {"metadata", "metadata.google.internal", "instance-data", "instance-data.ec2.internal"}
)
_METADATA = frozenset(
    {"fd00:ec2::254", "fd20:ce::254", "100.100.100.200", "168.63.129.16", "255.255.255.255"}
)
_NAT64 = IPv6Network("64:ff9b::/96")


@dataclass(frozen=True, slots=True)
class Url:
    """An absolute http or https URL; `host` without brackets, `port` None where the URL has none."""

    scheme: str
    host: str
    port: int | None
    path: str

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port is None else f":{self.port}"
        return f"{self.scheme}://{host}{port}{self.path}"

    @property
    def address(self) -> Address | None:
        """The host if it is an address."""
        return address_of(self.host)


@dataclass(frozen=True, slots=True)
class UnixSocket:
    """A server that answers at a socket on this machine, by its absolute path."""

    path: str

    def __str__(self) -> str:
        return f"unix:{self.path}"


ServerUrl = UnixSocket | Url
"""Where a model server answers."""


def server_key(url: ServerUrl) -> str:
    """Equal for two spellings of one server: `localhost` and `127.0.0.1`, with or without the last slash."""
    if isinstance(url, UnixSocket):
        return str(url)
    host = "127.0.0.1" if url.host.lower() == "localhost" else str(url.address or url.host.lower())
    return f"{url.scheme}://{host}:{url.port or (443 if url.scheme == 'https' else 80)}"


def shared_key(url: ServerUrl) -> str:
    """Equal wherever two URLs may well lead to one server: as `server_key`, by either scheme, and this machine is one.

    For what must not be missed. A link or a second DNS name is not seen here.
    """
    if isinstance(url, UnixSocket):
        return f"unix:{url.path.removeprefix('/var') if url.path.startswith('/var/run/') else url.path}"
    address = url.address
    if address is not None and (inner := _embedded_ipv4(address)) is not None:
        address = inner
    host = str(address or url.host.lower())
    local = host.endswith(".localhost") or is_loopback(host)
    return f"{'localhost' if local else host}:{url.port or (443 if url.scheme == 'https' else 80)}"


def crosses_in_clear(url: ServerUrl) -> bool:
    """Whether what is sent to this server leaves the machine without TLS."""
    return isinstance(url, Url) and url.scheme == "http" and not is_loopback(url.host)


def is_forbidden_host(host: str) -> bool:
    """Whether `host` is an address or name that no policy may send anything to: link-local, multicast,
    unspecified, or a cloud's metadata service, also when wrapped in an IPv6 address.
    """
    address = address_of(host)
    if address is None:
        return host.lower().rstrip(".") in _METADATA_NAMES
    inner = _embedded_ipv4(address)
    if inner is not None:
        return is_forbidden_host(str(inner))
    return (
        address.is_link_local or address.is_multicast or address.is_unspecified or str(address) in _METADATA
    )


def is_loopback(host: str) -> bool:
    """Whether `host` is this machine, by address or as `localhost`."""
    address = address_of(host)
    return host == "localhost" if address is None else address.is_loopback


def address_of(text: str) -> Address | None:
    """The address that `text` is, if it is one; zones are not taken."""
    try:
        return None if "%" in text else ip_address(text)
    except ValueError:
        return None


def _embedded_ipv4(address: Address) -> IPv4Address | None:
    """The IPv4 address that an IPv6 one carries: mapped, 6to4 or NAT64."""
    if isinstance(address, IPv4Address):
        return None
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour
