"""Which objects are in force at a workload's sidecar."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from meshward.align.istio.objects import Json, Mesh, MeshObject, items, mapping, selector


@dataclass(frozen=True, slots=True)
class Workload:
    """A pod with a sidecar. `protocols`: of a port, http unless it says tcp. `intercepted`: Envoy gets all of it."""

    namespace: str
    labels: Mapping[str, str]
    account: str = ""
    name: str = ""
    protocols: Mapping[int, str] = field(default_factory=lambda: MappingProxyType({}))
    intercepted: bool = True


def has_target(spec: Json) -> bool:
    """Whether it is for a gateway or waypoint, and so for no sidecar."""
    return bool(items(spec.get("targetRefs")) or mapping(spec.get("targetRef")))


def _attached(mesh: Mesh, kind: str, workload: Workload, namespaces: Sequence[str]) -> list[MeshObject]:
    found = [each for ns in namespaces for each in mesh.selecting(kind, ns, workload.labels)]
    return [each for each in found if not has_target(each.spec)]


def _namespaces(first: str, second: str) -> Sequence[str]:
    return (first,) if first == second else (first, second)


def authorization(mesh: Mesh, workload: Workload) -> list[MeshObject]:
    """AuthorizationPolicies: the root namespace's first, each the oldest first."""
    places = _namespaces(mesh.config.root_namespace, workload.namespace)
    return _attached(mesh, "AuthorizationPolicy", workload, places)


def request_authentication(mesh: Mesh, workload: Workload) -> list[MeshObject]:
    places = _namespaces(workload.namespace, mesh.config.root_namespace)
    return _attached(mesh, "RequestAuthentication", workload, places)


def peer_authentication(mesh: Mesh, workload: Workload) -> list[MeshObject]:
    """A selector in the root namespace names nobody: istiod looks at it and does nothing."""
    root = mesh.config.root_namespace
    found = _attached(mesh, "PeerAuthentication", workload, _namespaces(workload.namespace, root))
    return [each for each in found if not (selector(each) and each.ref.namespace == root)]


def envoy_filters(mesh: Mesh, workload: Workload) -> list[MeshObject]:
    """In the order in which they are applied: by priority, the root namespace's first, the oldest first."""
    root = mesh.config.root_namespace
    found = _attached(mesh, "EnvoyFilter", workload, _namespaces(root, workload.namespace))
    return sorted(found, key=lambda each: (_priority(each), each.ref.namespace != root, each.age))


def _priority(each: MeshObject) -> int:
    value = each.spec.get("priority", 0)
    return value if isinstance(value, int) else 0


def extensions(mesh: Mesh, workload: Workload) -> list[MeshObject]:
    """WasmPlugins and TrafficExtensions in the sidecar."""
    places = _namespaces(mesh.config.root_namespace, workload.namespace)
    return [
        each
        for kind in ("WasmPlugin", "TrafficExtension")
        for each in _attached(mesh, kind, workload, places)
    ]


def sidecar(mesh: Mesh, workload: Workload) -> MeshObject | None:
    """The Sidecar resource that shapes its listeners: one that selects it, else its namespace's, else the root's."""
    own = mesh.selecting("Sidecar", workload.namespace, workload.labels)
    root = mesh.selecting("Sidecar", mesh.config.root_namespace, {})
    return next(iter(sorted(own, key=lambda each: not selector(each)) or root), None)
