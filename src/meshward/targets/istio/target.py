"""Istio as a target: what a version's sidecar enforces, and everything of a placed plan that a mesh needs for it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from meshward.kit import codes
from meshward.kit.errors import MeshwardError
from meshward.kit.names import dns_label
from meshward.kit.text import quoted
from meshward.plan.placement import PlacedPlan
from meshward.targets.contract import Target
from meshward.targets.istio.authorization import authorization_policies
from meshward.targets.istio.capabilities import CAPABILITIES
from meshward.targets.istio.edge import client_resources, edge_resources
from meshward.targets.istio.envoyfilter import namespace_filters, net_filters
from meshward.targets.istio.hosted import hosted_endpoints, hosted_resources
from meshward.targets.istio.inputs import IstioInputs
from meshward.targets.istio.namespaces import mesh_wide_resources, namespace_resources
from meshward.targets.istio.owned import owned_resources
from meshward.targets.istio.projection import MeshPart, MeshView, by_namespace, mesh_view, mesh_views
from meshward.targets.istio.resource import Resource
from meshward.targets.istio.routing import model_resources, service_resources
from meshward.targets.istio.services import backings
from meshward.targets.istio.waypoint import waypoint_resources


@dataclass(frozen=True, slots=True)
class MeshPlace:
    """How a version's pods are guarded: by a sidecar each, or `ambient`, by their namespace's waypoint."""

    given: IstioInputs
    ambient: bool = False


def version_resources(view: MeshView, place: MeshPlace) -> tuple[Resource, ...]:
    """What one version's sidecars enforce. Raises MeshwardError for a route that Istio would not compare as written."""
    file = _model_file(view.model)
    filters = net_filters(view, file) if place.given.envoy_filters and not place.ambient else ()
    return (*authorization_policies(view, place.ambient, file), *filters)


SIDECAR: Target[MeshPart, MeshView, MeshPlace, tuple[Resource, ...]] = Target(
    "istio", CAPABILITIES, mesh_view, version_resources
)
"""Each sidecar stands for one version of one model."""


def mesh_resources(placed: PlacedPlan, given: IstioInputs) -> tuple[Resource, ...]:
    """Every object, by file, kind, namespace and name.

    Raises MeshwardError for a route that Istio would not compare as it is written, two objects of one name, and a key
    that cannot be used.
    """
    found = sorted(
        _all(placed, given), key=lambda each: (each.file, each.kind, each.namespace or "", each.name)
    )
    _demand_own_names(placed, found)
    return tuple(found)


def guarded_namespaces(placed: PlacedPlan) -> tuple[str, ...]:
    """Those that versions are in."""
    return tuple(sorted({place.namespace for _, _, place in placed.services()}))


def _all(placed: PlacedPlan, given: IstioInputs) -> Iterator[Resource]:
    ambient = placed.mesh.ambient
    views = mesh_views(placed, with_nets=given.envoy_filters and not ambient)
    gateway_api = given.routes == "gateway-api"
    place = MeshPlace(given, ambient)
    for namespace in by_namespace(views):
        yield from namespace_resources(placed, namespace, given)
        yield from waypoint_resources(placed, namespace) if ambient else ()
        yield from namespace_filters(namespace) if given.envoy_filters and not ambient else ()
    for view in views:
        yield from version_resources(view, place)
    for backing in (services := backings(views)):
        file = _model_file(backing.views[0].model)
        yield from service_resources(backing, file, gateway_api=gateway_api, ambient=ambient)
    for model, versions in _whole_models(placed, views):
        yield from model_resources(versions, _model_file(model), gateway_api=gateway_api)
    endpoints = hosted_endpoints(placed)
    for endpoint in endpoints:
        yield from hosted_resources(placed, endpoint)
    yield from edge_resources(placed, services, endpoints) if not ambient else ()
    if given.mesh_wide:
        yield from mesh_wide_resources(placed)
        yield from client_resources(placed)
    if given.owner is not None:
        namespaces = {*guarded_namespaces(placed), placed.edge.workload.namespace, placed.mesh.root_namespace}
        yield from owned_resources(placed, given.owner, sorted(namespaces))


def _whole_models(
    placed: PlacedPlan, views: Iterable[MeshView]
) -> Iterator[tuple[str, tuple[MeshView, ...]]]:
    """The models of which each version is behind a service."""
    found: dict[str, list[MeshView]] = {}
    for view in views:
        found.setdefault(view.model, []).append(view)
    for model, versions in found.items():
        if len(versions) == len(placed.plan.models[model].versions):
            yield model, tuple(versions)


def _model_file(model: str) -> str:
    return f"models/{dns_label(model)}.yaml"


def _demand_own_names(placed: PlacedPlan, resources: Iterable[Resource]) -> None:
    """Nothing is written in place of another: two names of a policy may fold to one, and a site may call a model's
    service as we would call another model.
    """
    seen: set[tuple[str, str | None, str]] = {
        ("Service", place.namespace, place.name) for _, _, place in placed.services()
    }
    for each in resources:
        key = (each.kind, each.namespace, each.name)
        if key in seen:
            raise MeshwardError(
                codes.NAMES_COLLIDE, f"two objects would be the {each.kind} {quoted(each.name)}"
            )
        seen.add(key)
