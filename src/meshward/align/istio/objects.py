"""Objects of a mesh as their API server gives them, or as files spell them, and an index over them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from meshward.align.istio.admission import admit
from meshward.align.istio.meshconfig import MeshConfig

Json = dict[str, Any]
REVISION = "istio.io/rev"
_SECURITY, _NETWORKING, _EXTENSIONS = "security.istio.io", "networking.istio.io", "extensions.istio.io"
GROUPS = {
    "AuthorizationPolicy": _SECURITY,
    "RequestAuthentication": _SECURITY,
    "PeerAuthentication": _SECURITY,
    "EnvoyFilter": _NETWORKING,
    "VirtualService": _NETWORKING,
    "DestinationRule": _NETWORKING,
    "ServiceEntry": _NETWORKING,
    "WorkloadEntry": _NETWORKING,
    "WorkloadGroup": _NETWORKING,
    "Sidecar": _NETWORKING,
    "WasmPlugin": _EXTENSIONS,
    "Service": "",
    "Pod": "",
    "Namespace": "",
    "ConfigMap": "",
}
"""Of kinds whose names other groups have as well, with another meaning."""


@dataclass(frozen=True, slots=True, order=True)
class Ref:
    """The name of an object; `place` is `file:line` where it was read from a file."""

    kind: str
    namespace: str
    name: str
    place: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"


@dataclass(frozen=True, slots=True)
class MeshObject:
    """One object; `spec` is what the API server would keep of it, `dropped` the fields that it would not."""

    ref: Ref
    group: str
    spec: Json
    body: Json
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    created: str = ""
    dropped: tuple[str, ...] = ()
    refused: str = ""

    @property
    def age(self) -> tuple[str, str, str]:
        """Orders as istiod does: the oldest first, then by name."""
        return (self.created, self.ref.name, self.ref.namespace)


def read_object(body: Mapping[str, Any], place: str = "") -> MeshObject:
    """`body` whatever it holds: what is not what it should be counts as not there, or `refused` says so."""
    kind, version = text(body.get("kind")), text(body.get("apiVersion"))
    group = version.rpartition("/")[0]
    metadata = mapping(body.get("metadata"))
    spec = body.get("spec")
    admitted = admit(kind, group, spec)
    return MeshObject(
        ref=Ref(kind, text(metadata.get("namespace")), text(metadata.get("name")), place),
        group=group,
        spec=admitted.spec,
        body=dict(body),
        labels=texts(metadata.get("labels")),
        annotations=texts(metadata.get("annotations")),
        created=text(metadata.get("creationTimestamp")),
        dropped=admitted.dropped,
        refused=admitted.refused,
    )


def flatten(bodies: Iterable[tuple[object, str]]) -> list[tuple[Mapping[str, Any], str]]:
    """(object, place) of each, the members of `List` kinds in place of the list; what is no object is left out."""
    found: list[tuple[Mapping[str, Any], str]] = []
    waiting = list(bodies)[::-1]
    while waiting:
        body, place = waiting.pop()
        if not isinstance(body, Mapping):
            continue
        items = body.get("items")
        if isinstance(items, list) and text(body.get("kind")).endswith("List"):
            waiting.extend((item, place) for item in reversed(items))
        else:
            found.append((body, place))
    return found


Selected = dict[tuple[str, ...], dict[tuple[str, ...], list[MeshObject]]]
"""Objects by the keys of their selector, then by its values; without a selector by no keys."""


@dataclass(frozen=True, slots=True)
class Mesh:
    """All objects, and an index of those in force: no API server refuses them, and this revision reads them."""

    config: MeshConfig
    objects: tuple[MeshObject, ...]
    index: Mapping[str, Mapping[str, Selected]] = field(repr=False)

    def of(self, kind: str, namespace: str) -> list[MeshObject]:
        """All of a namespace, the oldest first."""
        found = self.index.get(kind, {}).get(namespace, {})
        return sorted((each for by in found.values() for some in by.values() for each in some), key=_age)

    def all(self, kind: str) -> list[MeshObject]:
        return [each for namespace in sorted(self.index.get(kind, {})) for each in self.of(kind, namespace)]

    def selecting(self, kind: str, namespace: str, labels: Mapping[str, str]) -> list[MeshObject]:
        """Those whose selector `labels` meet, the oldest first: as many look-ups as there are sets of keys."""
        found: list[MeshObject] = []
        for keys, by in self.index.get(kind, {}).get(namespace, {}).items():
            if all(key in labels for key in keys):
                found += by.get(tuple(labels[key] for key in keys), ())
        return sorted(found, key=_age)


def _age(each: MeshObject) -> tuple[str, str, str]:
    return each.age


def gather(objects: Iterable[MeshObject], config: MeshConfig) -> Mesh:
    """The later of two objects with one name is the one in force, as the last write is."""
    named: dict[tuple[str, str, str, str], MeshObject] = {}
    for each in objects:
        named[(each.group, each.ref.kind, each.ref.namespace, each.ref.name)] = each
    index: dict[str, dict[str, Selected]] = {}
    for each in named.values():
        if in_force(each, config) and each.group == GROUPS.get(each.ref.kind, each.group):
            wanted = sorted(selector(each).items())
            keys, values = tuple(key for key, _ in wanted), tuple(value for _, value in wanted)
            place = index.setdefault(each.ref.kind, {}).setdefault(each.ref.namespace, {})
            place.setdefault(keys, {}).setdefault(values, []).append(each)
    return Mesh(config, tuple(named.values()), index)


def in_force(each: MeshObject, config: MeshConfig) -> bool:
    """Istio's own objects may be for one revision of the control plane."""
    asked = each.labels.get(REVISION) if each.group.endswith(".istio.io") else None
    return not each.refused and (asked is None or config.revision in (None, asked))


def is_marked(each: MeshObject) -> bool:
    """Whether it says that meshward wrote it."""
    return each.labels.get("app.kubernetes.io/managed-by") == "meshward"


def selector(each: MeshObject) -> dict[str, str]:
    """Labels that a pod must have to be meant; empty: all pods of its scope."""
    chosen = mapping(each.spec.get("workloadSelector"))
    if each.ref.kind == "Service":
        return texts(each.spec.get("selector"))
    return texts(chosen.get("labels") or mapping(each.spec.get("selector")).get("matchLabels"))


def mapping(value: object) -> Mapping[str, Any]:
    """`value` where it is a mapping, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def items(value: object) -> list[Any]:
    """`value` where it is a list, else an empty one."""
    return value if isinstance(value, list) else []


def text(value: object) -> str:
    """`value` where it is text, else an empty one."""
    return value if isinstance(value, str) else ""


def texts(value: object) -> dict[str, str]:
    """The members of a mapping that are text."""
    return {
        key: each for key, each in mapping(value).items() if isinstance(key, str) and isinstance(each, str)
    }


def text_list(value: object) -> list[str]:
    """The members of a list that are text."""
    return [each for each in items(value) if isinstance(each, str)]
