"""No place is another's, and none is where a version cannot be guarded."""

from __future__ import annotations

from collections.abc import Iterator

from meshward.check.site_findings import Path, SiteFindings
from meshward.kit import codes
from meshward.kit.errors import Problem
from meshward.kit.text import quoted
from meshward.plan.ir import Version
from meshward.plan.placement import MeshService, PlacedPlan, RemoteGuard
from meshward.policy.servers import HOSTED
from meshward.policy.urls import Url, address_of, is_forbidden_host, is_loopback

_USUAL_ROOT = "istio-system"  # that of a mesh that says no other, whatever a site says
# What Istio's sidecar listens at by itself, and what it takes no part in: nothing that arrives there is judged.
_SIDECAR_PORTS = frozenset({15000, 15001, 15004, 15006, 15008, 15020, 15021, 15053, 15090})


def find_unfit_places(placed: PlacedPlan, findings: SiteFindings) -> Iterator[Problem]:
    """Places that two share, that lead elsewhere, or that nothing guards."""
    yield from _find_edge(placed, findings)
    yield from _find_shared(placed, findings)
    local = _local_servers(placed)
    for model in placed.plan.models.values():
        for version in model.versions:
            path = ("models", model.name, version.name)
            place = placed.places.get((model.name, version.name))
            if isinstance(place, MeshService):
                yield from _find_unfit_service(version, place, placed, path, findings)
                if place.port in local:
                    yield _past_guard(place.port, local[place.port], (*path, "port"), findings)
            elif isinstance(place, RemoteGuard):
                yield from _find_unfit_guard(place, placed, (*path, "guard"), findings)


def _find_edge(placed: PlacedPlan, findings: SiteFindings) -> Iterator[Problem]:
    namespace = placed.edge.workload.namespace
    if namespace in _roots(placed):
        path = ("edge", "workload", "namespace")
        yield findings.told(
            codes.IN_ROOT_NAMESPACE, path, f"is {quoted(namespace)}, the mesh's root namespace"
        )


def _roots(placed: PlacedPlan) -> frozenset[str]:
    return frozenset({placed.mesh.root_namespace, _USUAL_ROOT})


def _find_unfit_service(
    version: Version, place: MeshService, placed: PlacedPlan, path: Path, findings: SiteFindings
) -> Iterator[Problem]:
    if place.namespace in _roots(placed):
        message = f"is {quoted(place.namespace)}, the mesh's root namespace"
        yield findings.told(codes.IN_ROOT_NAMESPACE, (*path, "namespace"), message)
    for key, port in (("port", place.port), ("target_port", place.target_port)):
        if port in _SIDECAR_PORTS and (key == "port" or port != place.port):
            message = f"is {port}, which a sidecar keeps for itself and does not guard"
            yield findings.told(codes.PORT_NOT_GUARDED, (*path, key), message)
    if version.server == HOSTED:
        message = "is a hosted endpoint, whose place is the policy's own URL"
        remedy = "Take it out, or name a guard: its key would be sent to whoever that service is."
        yield findings.told(codes.PLACE_UNFIT, path, message, remedy)


def _local_servers(placed: PlacedPlan) -> dict[int, str]:
    """Which version has a server at a port of the edge's machine: at any of its addresses, for all that we know."""
    return {
        url.port or (443 if url.scheme == "https" else 80): f"{model.name}.{version.name}"
        for model in placed.plan.models.values()
        for version in model.versions
        if (model.name, version.name) not in placed.places
        for url in version.urls
        if isinstance(url, Url) and is_loopback(url.host)
    }


def _past_guard(port: int, server: str, path: Path, findings: SiteFindings) -> Problem:
    message = (
        f"is {port}, where the server of {quoted(server)} may listen on the edge's machine, and would be reached "
        "past its guard"
    )
    remedy = "Have the service at another port: the edge's sidecar listens at the service's own."
    return findings.told(codes.PLACE_UNFIT, path, message, remedy)


def _find_unfit_guard(
    place: RemoteGuard, placed: PlacedPlan, path: Path, findings: SiteFindings
) -> Iterator[Problem]:
    shown, ours = quoted(f"{place.host}:{place.port}", 300), placed.plan.edge
    if is_forbidden_host(place.host):
        yield findings.told(codes.PLACE_UNFIT, path, f"is {shown}, where no guard can be")
    elif address_of(place.host) == address_of(placed.edge.sidecar):
        yield findings.told(codes.PLACE_UNFIT, path, f"is {shown}, where the edge's own sidecar listens")
    elif place.port == ours.port and place.host in (ours.host, ours.hostname):
        yield findings.told(codes.PLACE_UNFIT, path, f"is {shown}, where the edge itself listens")


def _find_shared(placed: PlacedPlan, findings: SiteFindings) -> Iterator[Problem]:
    """A service and port stands for one model; a guard for one version. A waypoint has one set of rules for a service,
    whatever port and pods are behind it.
    """
    ambient = placed.mesh.ambient
    users: dict[tuple[object, ...], tuple[str, str]] = {}
    for (model, version), place in sorted(placed.places.items()):
        if isinstance(place, MeshService):
            key: tuple[object, ...] = (place.namespace, place.name, 0 if ambient else place.port)
            path, what = ("models", model, version, "service"), f"port {place.port} of {quoted(place.name)}"
        elif isinstance(place, RemoteGuard):
            key = (place.host, place.port)
            path, what = ("models", model, version, "guard"), quoted(f"{place.host}:{place.port}", 300)
        else:
            continue
        first = users.setdefault(key, (model, version))
        one_model = isinstance(place, MeshService) and first[0] == model
        if ambient and one_model:
            one_model = placed.plan.version(*first).routes == placed.plan.version(model, version).routes
        if first != (model, version) and not one_model:
            message = f"is {what}, which is the place of {quoted('.'.join(first))} too"
            yield findings.told(codes.PLACE_SHARED, path, message)
