"""Which objects are in force at a workload's sidecar."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from meshward.align.istio.objects import Json, Mesh, MeshObject, items, mapping, texts


@dataclass(frozen=True, slots=True)
class Workload:
    """A pod with a sidecar. `protocols`: of a port, http unless it says tcp. `intercepted`: Envoy gets all of it."""

    namespace: str
    labels: Mapping[str, str]
    account: str = ""
    name: str = ""
    protocols: Mapping[int, str] = field(default_factory=lambda: MappingProxyType({}))
    intercepted: bool = True


def labels_match(wanted: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    return all(labels.get(key) == value for key, value in wanted.items())


def match_labels(spec: Json) -> dict[str, str]:
    return texts(mapping(spec.get("selector")).get("matchLabels"))


def has_target(spec: Json) -> bool:
    """Whether it is for a gateway or waypoint, and so for no sidecar."""
    return bool(items(spec.get("targetRefs")) or mapping(spec.get("targetRef")))


def _selected(each: MeshObject, workload: Workload) -> bool:
    return not has_target(each.spec) and labels_match(match_labels(each.spec), workload.labels)


def _namespaces(first: str, second: str) -> Sequence[str]:
    return (first,) if first == second else (first, second)


def authorization(mesh: Mesh, workload: Workload) -> list[MeshObject]:
    """AuthorizationPolicies: the root namespace's first, each the oldest first."""
    places = _namespaces(mesh.config.root_namespace, workload.namespace)
    return [each for ns in places for each in mesh.of("AuthorizationPolicy", ns) if _selected(each, workload)]


def request_authentication(mesh: Mesh, workload: Workload) -> list[MeshObject]:
    places = _namespaces(workload.namespace, mesh.config.root_namespace)
    return [
        each for ns in places for each in mesh.of("RequestAuthentication", ns) if _selected(each, workload)
    ]


def peer_authentication(mesh: Mesh, workload: Workload) -> list[MeshObject]:
    """A selector in the root namespace names nobody: istiod looks at it and does nothing."""
    places = _namespaces(workload.namespace, mesh.config.root_namespace)
    return [
        each
        for ns in places
        for each in mesh.of("PeerAuthentication", ns)
        if labels_match(match_labels(each.spec), workload.labels)
        and not (match_labels(each.spec) and ns == mesh.config.root_namespace)
    ]


def envoy_filters(mesh: Mesh, workload: Workload) -> list[MeshObject]:
    """In the order in which they are applied: by priority, the root namespace's first, the oldest first."""
    root = mesh.config.root_namespace
    found = [
        each
        for ns in _namespaces(root, workload.namespace)
        for each in mesh.of("EnvoyFilter", ns)
        if not has_target(each.spec)
        and labels_match(texts(mapping(each.spec.get("workloadSelector")).get("labels")), workload.labels)
    ]
    return sorted(found, key=lambda each: (_priority(each), each.ref.namespace != root, each.age))


def _priority(each: MeshObject) -> int:
    value = each.spec.get("priority", 0)
    return value if isinstance(value, int) else 0


def extensions(mesh: Mesh, workload: Workload) -> list[MeshObject]:
    """WasmPlugins and TrafficExtensions in the sidecar."""
    return [
        each
        for kind in ("WasmPlugin", "TrafficExtension")
        for ns in _namespaces(mesh.config.root_namespace, workload.namespace)
        for each in mesh.of(kind, ns)
        if _selected(each, workload)
    ]


def sidecar(mesh: Mesh, workload: Workload) -> MeshObject | None:
    """The Sidecar resource that shapes its listeners: one that selects it, else its namespace's, else the root's."""

    def wanted(each: MeshObject) -> dict[str, str]:
        return texts(mapping(each.spec.get("workloadSelector")).get("labels"))

    own = mesh.of("Sidecar", workload.namespace)
    selecting = [each for each in own if wanted(each) and labels_match(wanted(each), workload.labels)]
    default = [each for each in own if not wanted(each)]
    root = [each for each in mesh.of("Sidecar", mesh.config.root_namespace) if not wanted(each)]
    return next(iter([*selecting, *default, *root]), None)
