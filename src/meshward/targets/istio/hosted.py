"""Hosted endpoints: outside of the mesh, reached from the edge's sidecar alone, by TLS that it begins."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from meshward.kit.names import dns_label
from meshward.plan.placement import Hosted, PlacedPlan
from meshward.policy.urls import UnixSocket
from meshward.targets.istio.logs import RETRIES
from meshward.targets.istio.naming import NETWORKING, resource
from meshward.targets.istio.resource import Resource

FILE = "hosted.yaml"
PORT = 8080
"""Where the edge's sidecar takes what is for hosted endpoints."""
_ENTRY = (
    "A hosted endpoint, known to the edge's namespace alone. Nobody here checks a token for it: the edge decides, and "
    "nobody yet sends its key."
)
_TLS = "TLS is begun by the edge's sidecar, for this exact name, by the system's authorities."
_ROUTE = "No timeout, for answers stream; a POST never runs twice."


@dataclass(frozen=True, slots=True, order=True)
class Endpoint:
    """`port` is where it is; `tls`: whether it speaks TLS there."""

    host: str
    port: int
    tls: bool


def hosted_endpoints(placed: PlacedPlan) -> tuple[Endpoint, ...]:
    """Each once, by host."""
    found = set()
    for (model, version), place in placed.places.items():
        if isinstance(place, Hosted):
            url = placed.plan.version(model, version).url
            tls = not isinstance(url, UnixSocket) and url.scheme == "https"
            found.add(Endpoint(place.host.lower(), place.port, tls))
    return tuple(sorted(found))


def hosted_resources(placed: PlacedPlan, endpoint: Endpoint) -> Iterator[Resource]:
    """In plain HTTP to the edge's sidecar, at `PORT`."""
    namespace, port = placed.edge.workload.namespace, PORT
    name = f"mw-hosted.{dns_label(endpoint.host)}.{endpoint.port}"
    only_here = {"exportTo": ["."]}
    entry = {
        "hosts": [endpoint.host],
        "location": "MESH_EXTERNAL",
        "resolution": "DNS",
        **only_here,
        "ports": [{"number": port, "name": "http", "protocol": "HTTP", "targetPort": endpoint.port}],
    }
    yield resource(NETWORKING, "ServiceEntry", namespace, name, FILE, _ENTRY, entry)
    if endpoint.tls:
        # Without `caCertificates` the proxy would ask its SDS for a bundle of another name.
        tls = {"mode": "SIMPLE", "sni": endpoint.host, "caCertificates": "system"}
        levels: list[dict[str, Any]] = [{"port": {"number": port}, "tls": tls}]
        rule = {"host": endpoint.host, **only_here, "trafficPolicy": {"portLevelSettings": levels}}
        yield resource(NETWORKING, "DestinationRule", namespace, name, FILE, _TLS, rule)
    destination = {"host": endpoint.host, "port": {"number": port}}
    route = {"route": [{"destination": destination}], "retries": dict(RETRIES)}
    spec = {"hosts": [endpoint.host], **only_here, "http": [route]}
    yield resource(NETWORKING, "VirtualService", namespace, name, FILE, _ROUTE, spec)
