"""Where a site's versions are, as addresses: a name of a machine is asked for here, with this system's own means.

nginx is told addresses only. It knows no resolver, so no name that a decision holds can lead it anywhere; whose an
address is, the certificate there proves.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Mapping
from ipaddress import ip_address

from meshward.kit import codes
from meshward.kit.errors import MeshwardError
from meshward.kit.text import quoted
from meshward.plan.placement import MeshService, PlacedPlan, RemoteGuard
from meshward.targets.nginx.wire import Address, Far, Near, Place, Slot

_PATIENCE = 1.0  # seconds
Resolve = Callable[[str], list[Address]]


def resolve_host(host: str) -> list[Address]:
    """Every address of `host`, in the system's order. Raises OSError."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(ip_address(each[4][0]) for each in found))


def resolve_places(
    placed: PlacedPlan | None,
    known: Mapping[str, Place],
    resolve: Resolve = resolve_host,
    only: str | None = None,
) -> dict[str, Place]:
    """What nginx is told of each version that is not on this machine, by `<model>/<version>`; of all, or of one.

    A name that has several addresses keeps the one that is `known`. Raises MeshwardError (MW5015) where there is none.
    """
    if placed is None:
        return {}
    return {
        key: _near(placed, where) if isinstance(where, MeshService) else _far(key, where, known, resolve)
        for key, where in placed.elsewhere().items()
        if only in (None, key)
    }


def describe_place(where: MeshService | RemoteGuard) -> str:
    """Where a version is, and who enforces its rules there; for people."""
    if isinstance(where, MeshService):
        service = f"service {where.name}.{where.namespace}, port {where.port}"
        return f"{service}, through the edge's sidecar; the mesh enforces: `meshward apply --target istio`"
    return (
        f"guard {spell_host(where)}, by mutual TLS; it enforces what `meshward render --target envoy` gave it"
    )


def warn_of_places(elsewhere: Mapping[str, Place]) -> Iterator[str]:
    """Where nobody listens just now, in sentences: requests there are refused until somebody does."""
    at = {(place.address, place.port): key for key, place in elsewhere.items() if not isinstance(place, Slot)}
    for (address, port), key in at.items():
        try:
            socket.create_connection((str(address), port), _PATIENCE).close()
        except OSError as error:
            where = f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"
            yield f"nobody takes connections at {where}, where {key} is to be reached: {error.strerror or error}"


def spell_host(where: RemoteGuard) -> str:
    """`host:port`, as a site file has it."""
    return f"[{where.host}]:{where.port}" if ":" in where.host else f"{where.host}:{where.port}"


def _near(placed: PlacedPlan, where: MeshService) -> Near:
    return Near(ip_address(placed.edge.sidecar), where.port, where.host)


def _far(key: str, where: RemoteGuard, known: Mapping[str, Place], resolve: Resolve) -> Far:
    addresses = _addresses(key, where, resolve)
    before = known.get(key)
    kept = isinstance(before, Far) and before.address in addresses
    try:
        return Far(before.address if kept and isinstance(before, Far) else addresses[0], where.port)
    except ValueError:
        raise _nowhere_error(key, where, f"{addresses[0]} is no address of a machine") from None


def _addresses(key: str, where: RemoteGuard, resolve: Resolve) -> list[Address]:
    try:
        return [ip_address(where.host)]
    except ValueError:
        pass
    try:
        found = resolve(where.host)
    except (OSError, UnicodeError) as error:
        raise _nowhere_error(key, where, getattr(error, "strerror", None) or "no such name") from None
    if not found:
        raise _nowhere_error(key, where, "it has no address")
    return found


def _nowhere_error(key: str, where: RemoteGuard, why: str) -> MeshwardError:
    return MeshwardError(
        codes.PLACE_UNKNOWN,
        f"the guard of {key} is at {quoted(spell_host(where))}, and that leads nowhere: {why}",
    )
