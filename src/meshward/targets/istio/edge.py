"""The edge's way into the mesh: nginx speaks plain HTTP to its own sidecar, which knows these services alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from meshward.plan.placement import PlacedPlan
from meshward.targets.istio.hosted import Endpoint
from meshward.targets.istio.logs import RETRIES
from meshward.targets.istio.naming import NETWORKING, SECURITY, resource
from meshward.targets.istio.placing import labels
from meshward.targets.istio.resource import Resource
from meshward.targets.istio.services import Backing

FILE = "edge.yaml"
MAX_HOSTS = 256
"""Of one ServiceEntry."""
_SIDECAR = (
    "The edge's own sidecar takes plain HTTP from nginx at an address of the pod alone and does the mutual TLS: "
    "whoever can connect there speaks as the edge, so the pod must be nobody else's. Any other host is a 502."
)
_NAMES = (
    "A sidecar's listener knows services of its own port only. These names have that port, so that one listener "
    "reaches services of any port."
)
_CLIENTS = "Clients are not of the mesh: the edge's own port takes their TLS as it comes, and nginx decides."
_ROUTE = "What nginx sends to a service's name, or to a version's, goes to the service's own port. No POST runs twice."


def edge_resources(
    placed: PlacedPlan, backings: Sequence[Backing], endpoints: Sequence[Endpoint]
) -> Iterator[Resource]:
    """Those of the edge's namespace; nothing where it reaches nobody in the mesh."""
    if not backings and not endpoints:
        return
    namespace, listen = placed.edge.workload.namespace, placed.edge.sidecar
    named = [backing for backing in backings if needs_names(backing, listen.port)]
    aliases = [view.dns_name for backing in named for view in backing.views]
    hosts = [
        *(f"{backing.place.namespace}/{backing.host}" for backing in backings),
        *(f"{namespace}/{name}" for name in aliases),
        *(f"{namespace}/{endpoint.host}" for endpoint in endpoints),
    ]
    listener = {
        "port": {"number": listen.port, "protocol": "HTTP", "name": "http"},
        "bind": listen.host,
        "captureMode": "NONE",
        "hosts": sorted(hosts),
    }
    spec = {
        "workloadSelector": {"labels": labels(placed.edge.select)},
        "egress": [listener],
        "outboundTrafficPolicy": {"mode": "REGISTRY_ONLY"},
    }
    yield resource(NETWORKING, "Sidecar", namespace, "mw-edge", FILE, _SIDECAR, spec)
    for number, start in enumerate(range(0, len(aliases), MAX_HOSTS), 1):
        name = "mw-edge-names" if number == 1 else f"mw-edge-names.{number}"
        spec = _names(aliases[start : start + MAX_HOSTS], listen.port)
        yield resource(NETWORKING, "ServiceEntry", namespace, name, FILE, _NAMES, spec)
    for backing in named:
        name = f"mw-{backing.place.namespace}.{backing.place.name}.edge"
        spec = _route(backing, listen.port)
        yield resource(NETWORKING, "VirtualService", namespace, name, FILE, _ROUTE, spec)


def client_resources(placed: PlacedPlan) -> Iterator[Resource]:
    """The edge's own door, which strict mTLS and default deny of the whole mesh would shut."""
    namespace, port = placed.edge.workload.namespace, placed.plan.edge.port
    selector = {"selector": {"matchLabels": labels(placed.edge.select)}}
    strict = {**selector, "mtls": {"mode": "STRICT"}, "portLevelMtls": {str(port): {"mode": "DISABLE"}}}
    yield resource(SECURITY, "PeerAuthentication", namespace, "mw-edge-clients", FILE, _CLIENTS, strict)
    opened = {**selector, "action": "ALLOW", "rules": [{"to": [{"operation": {"ports": [str(port)]}}]}]}
    yield resource(SECURITY, "AuthorizationPolicy", namespace, "mw-edge-clients", FILE, _CLIENTS, opened)


def needs_names(backing: Backing, port: int) -> bool:
    """Whether the edge's listener at `port` would not know it, or could not tell its versions apart."""
    return backing.has_subsets or backing.ports != (port,)


def _names(hosts: Sequence[str], port: int) -> dict[str, Any]:
    return {
        "hosts": list(hosts),
        "location": "MESH_INTERNAL",
        "resolution": "STATIC",
        "exportTo": ["."],
        "ports": [{"number": port, "name": "http", "protocol": "HTTP"}],
    }


def _route(backing: Backing, port: int) -> dict[str, Any]:
    """By a version's name to it alone, by the service's own to all behind it."""
    own = [backing.host] if backing.ports != (port,) else []
    names = [view.dns_name for view in backing.views]
    if not backing.has_subsets:
        routes = [{"route": backing.destinations(backing.ports[0]), "retries": dict(RETRIES)}]
    else:
        routes = [
            {
                "match": [{"authority": {"exact": view.dns_name}}],
                "route": [{"destination": backing.destination(view)}],
                "retries": dict(RETRIES),
            }
            for view in backing.views
        ]
        if own:
            routes.append({"route": backing.destinations(backing.ports[0]), "retries": dict(RETRIES)})
    return {"hosts": [*names, *own], "exportTo": ["."], "http": routes}
