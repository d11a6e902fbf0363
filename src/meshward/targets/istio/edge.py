"""The edge's way into the mesh: nginx speaks plain HTTP to its own sidecar, which knows these services alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from meshward.plan.placement import PlacedPlan
from meshward.targets.istio.hosted import PORT, Endpoint
from meshward.targets.istio.naming import NETWORKING, SECURITY, resource
from meshward.targets.istio.placing import labels
from meshward.targets.istio.resource import Resource
from meshward.targets.istio.services import Backing

FILE = "edge.yaml"
_SIDECAR = (
    "The edge's own sidecar takes plain HTTP from nginx at a loopback address and does the mutual TLS: whoever can "
    "connect there speaks as the edge, so the pod must be nobody else's. A listener knows the services of its own port "
    "only; any other host is a 502."
)
_CLIENTS = "Clients are not of the mesh: the edge's own port takes their TLS as it comes, and nginx decides."


def edge_resources(
    placed: PlacedPlan, backings: Sequence[Backing], endpoints: Sequence[Endpoint]
) -> Iterator[Resource]:
    """Its Sidecar; nothing where it reaches nobody in the mesh."""
    namespace = placed.edge.workload.namespace
    hosts: dict[int, set[str]] = {}
    for backing in backings:
        for port in backing.ports:
            hosts.setdefault(port, set()).add(f"{backing.place.namespace}/{backing.host}")
    for endpoint in endpoints:
        hosts.setdefault(PORT, set()).add(f"{namespace}/{endpoint.host}")
    if hosts:
        spec = {
            "workloadSelector": {"labels": labels(placed.edge.select)},
            "egress": [_listener(port, placed.edge.sidecar, hosts[port]) for port in sorted(hosts)],
            "outboundTrafficPolicy": {"mode": "REGISTRY_ONLY"},
        }
        yield resource(NETWORKING, "Sidecar", namespace, "mw-edge", FILE, _SIDECAR, spec)


def _listener(port: int, address: str, hosts: set[str]) -> dict[str, Any]:
    """The namespace before each host also says whose routes count: nobody else's VirtualService is read."""
    return {
        "port": {"number": port, "protocol": "HTTP", "name": f"http-{port}"},
        "bind": address,
        "captureMode": "NONE",
        "hosts": sorted(hosts),
    }


def client_resources(placed: PlacedPlan) -> Iterator[Resource]:
    """The edge's own door, which strict mTLS and default deny of the whole mesh would shut."""
    namespace, port = placed.edge.workload.namespace, placed.plan.edge.port
    selector = {"selector": {"matchLabels": labels(placed.edge.select)}}
    strict = {**selector, "mtls": {"mode": "STRICT"}, "portLevelMtls": {str(port): {"mode": "DISABLE"}}}
    yield resource(SECURITY, "PeerAuthentication", namespace, "mw-edge-clients", FILE, _CLIENTS, strict)
    opened = {**selector, "action": "ALLOW", "rules": [{"to": [{"operation": {"ports": [str(port)]}}]}]}
    yield resource(SECURITY, "AuthorizationPolicy", namespace, "mw-edge-clients", FILE, _CLIENTS, opened)
