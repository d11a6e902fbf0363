"""How requests get to a version's pods: mutual TLS with their identity, no second try of what has begun, weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from meshward.targets.istio.logs import RETRIES
from meshward.targets.istio.naming import CORE, GATEWAY_API, MODEL, NETWORKING, model_name, resource
from meshward.targets.istio.placing import labels
from meshward.targets.istio.projection import MeshView
from meshward.targets.istio.resource import Resource
from meshward.targets.istio.services import Backing, subset_name

_DESTINATION = (
    "Callers demand the identity of this service's pods. A server that breaks off is left out for a while. No "
    "connection, and so no older policy on it, outlives five minutes."
)
_SERVICE = (
    "No timeout, for answers stream for as long as they take. Tried again is only what no server has begun: a POST "
    "never runs twice."
)
_SHARED = "Versions behind one service share what comes to its name by the policy's weights."
_NAME = "The model's own name, for callers inside: it has no pods, its route sends them on to the versions."
_MODEL = "Callers inside who name the model, not a version, are split by the policy's weights. The edge names versions."

# As at a guard: a 500 is a model's answer to a prompt; what counts is that nobody is there. Never all of them.
_OUTLIERS = {
    "consecutive5xxErrors": 0,
    "consecutiveGatewayErrors": 3,
    "interval": "1s",
    "baseEjectionTime": "5s",
    "maxEjectionPercent": 99,
}
_POOL = {
    "tcp": {"connectTimeout": "2s", "maxConnectionDuration": "300s"},
    "http": {"idleTimeout": "300s", "maxRetries": 1024},
}


def service_resources(backing: Backing, file: str, *, gateway_api: bool, ambient: bool) -> Iterator[Resource]:
    """Those of one service: its DestinationRule, and its route."""
    name, namespace = f"mw-{backing.place.name}.service", backing.place.namespace
    yield resource(
        NETWORKING,
        "DestinationRule",
        namespace,
        name,
        file,
        _DESTINATION,
        {
            "host": backing.host,
            "trafficPolicy": {
                **({} if ambient else {"tls": _tls(backing)}),
                "connectionPool": _POOL,
                "outlierDetection": _OUTLIERS,
            },
            **({"subsets": [_subset(view) for view in backing.views]} if backing.has_subsets else {}),
        },
    )
    if gateway_api and not backing.has_subsets and len(backing.ports) == 1:
        yield _http_route(backing, namespace, name, file)
    else:
        yield _virtual_service(backing, namespace, name, file)


def _tls(backing: Backing) -> dict[str, Any]:
    """Without names of ours Istio takes those of the endpoints that it knows."""
    accounts = {view.place.service_account for view in backing.views}
    mutual = {"mode": "ISTIO_MUTUAL"}
    if None in accounts:
        return mutual
    start = f"spiffe://{backing.views[0].trust_domain}/ns/{backing.place.namespace}/sa"
    return {**mutual, "subjectAltNames": sorted(f"{start}/{account}" for account in accounts)}


def _subset(view: MeshView) -> dict[str, Any]:
    return {"name": subset_name(view), "labels": labels(view.place.select)}


def _virtual_service(backing: Backing, namespace: str, name: str, file: str) -> Resource:
    routes = [
        {"match": [{"port": port}], "route": backing.destinations(port), "retries": dict(RETRIES)}
        for port in backing.ports
    ]
    comment = f"{_SERVICE} {_SHARED}" if backing.has_subsets else _SERVICE
    spec = {"hosts": [backing.host], "http": routes}
    return resource(NETWORKING, "VirtualService", namespace, name, file, comment, spec)


def _http_route(backing: Backing, namespace: str, name: str, file: str) -> Resource:
    port = backing.ports[0]
    spec = {
        "parentRefs": [_service_ref(backing.place.name, port)],
        "rules": [{"backendRefs": [{"name": backing.place.name, "port": port}]}],
    }
    return resource(GATEWAY_API, "HTTPRoute", namespace, name, file, _SERVICE, spec)


def _service_ref(name: str, port: int) -> dict[str, Any]:
    return {"group": "", "kind": "Service", "name": name, "port": port}


def model_resources(views: Sequence[MeshView], file: str, *, gateway_api: bool) -> Iterator[Resource]:
    """The model's own name, of versions that each have a service of their own; nothing for any others."""
    if not has_own_name(views):
        return
    first = views[0]
    name, namespace, port = model_name(first.model), first.place.namespace, first.place.port
    annotations = {MODEL: first.model}
    service = {"ports": [{"name": "http", "port": port, "appProtocol": "http"}]}
    yield resource(CORE, "Service", namespace, name, file, _NAME, service, annotations=annotations)
    spec: dict[str, Any]
    if gateway_api:
        backends = [{"name": v.place.name, "port": v.place.port, "weight": v.weight} for v in views]
        spec = {"parentRefs": [_service_ref(name, port)], "rules": [{"backendRefs": backends}]}
        yield resource(
            GATEWAY_API, "HTTPRoute", namespace, f"{name}.model", file, _MODEL, spec, annotations=annotations
        )
        return
    host = f"{name}.{namespace}.svc.{first.place.domain}"
    destinations = [
        {"destination": {"host": v.place.host, "port": {"number": v.place.port}}, "weight": v.weight}
        for v in views
    ]
    spec = {"hosts": [host], "http": [{"route": destinations, "retries": dict(RETRIES)}]}
    yield resource(
        NETWORKING, "VirtualService", namespace, f"{name}.model", file, _MODEL, spec, annotations=annotations
    )


def has_own_name(views: Sequence[MeshView]) -> bool:
    """Whether these versions of one model, which must be all of them, can be called by the model's name."""
    hosts = {view.place.host for view in views}
    one_namespace = len({view.place.namespace for view in views}) == 1
    return len(views) > 1 and len(hosts) == len(views) and one_namespace and any(v.weight for v in views)
