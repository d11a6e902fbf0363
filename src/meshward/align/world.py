"""What runs, beside what should: every model's sidecar as the objects make it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from meshward.align.expected import Expected, Guarded
from meshward.align.istio.attach import Workload
from meshward.align.istio.objects import Mesh, MeshObject, Ref, items, mapping, text
from meshward.align.istio.view import Sidecar, read_sidecar
from meshward.align.pods import Pod, pods
from meshward.plan.placement import PlacedPlan

_SELECTING = (
    "AuthorizationPolicy",
    "RequestAuthentication",
    "PeerAuthentication",
    "EnvoyFilter",
    "WasmPlugin",
)
_OPAQUE = {"tcp", "tls", "https", "mongo", "mysql", "redis", "udp"}
_HTTP = {"http", "http2", "grpc", "grpc-web", "http_proxy"}


@dataclass(frozen=True, slots=True)
class Spot:
    """Pods of one set of labels, who they are of, and their sidecar. `pods` is empty where none is known."""

    guarded: tuple[Guarded, ...]
    pods: tuple[Pod, ...]
    sidecar: Sidecar

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(each.name for each in self.guarded)

    @property
    def namespace(self) -> str:
        return self.sidecar.workload.namespace


@dataclass(frozen=True)
class World:
    """`config_ref`: where the mesh's configuration was read; None where it was not, and is taken to be the site's."""

    expected: Expected
    placed: PlacedPlan
    mesh: Mesh
    config_ref: Ref | None
    pods: tuple[Pod, ...]
    spots: tuple[Spot, ...]
    by_host: Mapping[str, tuple[Guarded, ...]]

    @property
    def namespaces(self) -> frozenset[str]:
        """Those of guarded models."""
        return frozenset(each.place.namespace for each in self.expected.guarded)

    @cached_property
    def permissions(self) -> frozenset[str]:
        """All that some model takes."""
        return frozenset(route.permission for each in self.expected.guarded for route in each.routes)

    @property
    def revision(self) -> str:
        """That of the control plane, as the site says or Istio calls it by itself."""
        return self.placed.mesh.revision or "default"

    @property
    def scope(self) -> frozenset[str]:
        """Namespaces whose objects may mean a model."""
        return self.namespaces | {self.mesh.config.root_namespace}

    def in_scope(self, kind: str) -> Iterator[MeshObject]:
        for namespace in sorted(self.scope):
            yield from self.mesh.of(kind, namespace)


def see(expected: Expected, placed: PlacedPlan, mesh: Mesh, config_ref: Ref | None) -> World:
    """Reads every sidecar once."""
    known = pods(mesh)
    index = _Index(expected.guarded)
    found: dict[tuple[str, tuple[tuple[str, str], ...]], list[Pod]] = {}
    for pod in known:
        if index.of(pod.ref.namespace, pod.labels):
            found.setdefault((pod.ref.namespace, tuple(sorted(pod.labels.items()))), []).append(pod)
    met = {each for (namespace, labels) in found for each in index.of(namespace, dict(labels))}
    guessed = _Guessed(mesh)
    for each in expected.guarded:
        if each not in met:
            for labels in guessed.labels(each):
                found.setdefault((each.place.namespace, tuple(sorted(labels.items()))), [])
    hosts = _hosts(mesh, placed.mesh.cluster_domain)
    spots = []
    for (namespace, pairs), there in sorted(found.items(), key=lambda pair: pair[0]):
        guarded = index.of(namespace, dict(pairs))
        protocols = {each.place.target_port: protocol(mesh, each) for each in guarded}
        workload = Workload(namespace, dict(pairs), protocols=protocols)
        spots.append(Spot(guarded, tuple(there), read_sidecar(mesh, workload, hosts)))
    by_host: dict[str, tuple[Guarded, ...]] = {}
    for each in expected.guarded:
        by_host[each.place.host] = (*by_host.get(each.place.host, ()), each)
    return World(expected, placed, mesh, config_ref, tuple(known), tuple(spots), by_host)


@dataclass
class _Index:
    """Which versions a pod is of, by the keys of their selectors."""

    guarded: Sequence[Guarded]
    by: dict[str, dict[tuple[str, ...], dict[tuple[str, ...], list[Guarded]]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for each in self.guarded:
            keys, values = tuple(zip(*each.place.select, strict=True)) if each.place.select else ((), ())
            self.by.setdefault(each.place.namespace, {}).setdefault(keys, {}).setdefault(values, []).append(
                each
            )

    def of(self, namespace: str, labels: Mapping[str, str]) -> tuple[Guarded, ...]:
        found: list[Guarded] = []
        for keys, by in self.by.get(namespace, {}).items():
            if all(key in labels for key in keys):
                found += by.get(tuple(labels[key] for key in keys), ())
        return tuple(sorted(found, key=lambda each: each.name))


class _Guessed:
    """Labels of pods that nobody has seen: those that the site says, and with what an object's selector adds."""

    def __init__(self, mesh: Mesh) -> None:
        self._mesh = mesh
        self._by: dict[tuple[Any, ...], dict[tuple[str, ...], list[dict[str, str]]]] = {}

    def labels(self, guarded: Guarded) -> list[dict[str, str]]:
        own = guarded.labels
        found = [own]
        namespaces = {guarded.place.namespace, self._mesh.config.root_namespace}
        for kind in _SELECTING:
            for namespace in sorted(namespaces):
                for keys in self._mesh.index.get(kind, {}).get(namespace, {}):
                    if not all(key in own for key in keys):
                        found += [
                            {**selector, **own} for selector in self._agreeing(kind, namespace, keys, own)
                        ]
        return list({tuple(sorted(each.items())): each for each in found}.values())

    def _agreeing(
        self, kind: str, namespace: str, keys: tuple[str, ...], own: Mapping[str, str]
    ) -> list[dict[str, str]]:
        """Selectors with `keys` that say nothing else of the labels that are known."""
        shared = tuple(key for key in keys if key in own)
        place = (kind, namespace, keys, shared)
        if place not in self._by:
            by = self._by[place] = {}
            for values in self._mesh.index[kind][namespace][keys]:
                selector = dict(zip(keys, values, strict=True))
                by.setdefault(tuple(selector[key] for key in shared), []).append(selector)
        return self._by[place].get(tuple(own[key] for key in shared), [])


def protocol(mesh: Mesh, guarded: Guarded) -> str:
    """http or tcp at the pods' port; what nobody says is looked at, and so HTTP."""
    place = guarded.place
    for each in mesh.of("Service", place.namespace):
        if each.ref.name == place.name:
            return of_port(items(each.spec.get("ports")), "port", place.port)
    for each in mesh.of("ServiceEntry", place.namespace):
        if place.host in items(each.spec.get("hosts")):
            return of_port(items(each.spec.get("ports")), "number", place.port)
    return "http"


def of_port(ports: Iterable[object], key: str, port: int) -> str:
    """By `appProtocol`, an entry's `protocol` (a Service's says TCP of all), or the first word of the name."""
    for each in map(mapping, ports):
        if each.get(key) == port:
            said = text(each.get("appProtocol")) or (text(each.get("protocol")) if key == "number" else "")
            name = (said or text(each.get("name"))).lower().rpartition("/")[2]
            start = name if name in _HTTP else name.partition("-")[0]
            return "tcp" if start in _OPAQUE else "http"
    return "http"


def _hosts(mesh: Mesh, domain: str) -> frozenset[str]:
    """Services by name, for providers that are asked."""
    named = {f"{each.ref.name}.{each.ref.namespace}.svc.{domain}" for each in mesh.all("Service")}
    entries = mesh.all("ServiceEntry")
    return frozenset(named | {text(host) for each in entries for host in items(each.spec.get("hosts"))})
