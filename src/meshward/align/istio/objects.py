"""Objects of a mesh as their API server gives them, or as files spell them, and an index over them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from meshward.align.istio.admission import admit
from meshward.align.istio.meshconfig import MeshConfig

Json = dict[str, Any]


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


@dataclass(frozen=True, slots=True)
class Mesh:
    """All objects that are in force (none that an API server refuses), by kind and namespace, oldest first."""

    config: MeshConfig
    objects: tuple[MeshObject, ...]
    index: Mapping[str, Mapping[str, Sequence[MeshObject]]] = field(repr=False)

    def of(self, kind: str, namespace: str) -> Sequence[MeshObject]:
        return self.index.get(kind, {}).get(namespace, ())

    def all(self, kind: str) -> list[MeshObject]:
        return [each for found in self.index.get(kind, {}).values() for each in found]


def gather(objects: Iterable[MeshObject], config: MeshConfig) -> Mesh:
    """The later of two objects with one name is the one in force, as the last write is."""
    named: dict[tuple[str, str, str, str], MeshObject] = {}
    for each in objects:
        named[(each.group, each.ref.kind, each.ref.namespace, each.ref.name)] = each
    index: dict[str, dict[str, list[MeshObject]]] = {}
    for each in sorted(named.values(), key=lambda found: found.age):
        if not each.refused:
            index.setdefault(each.ref.kind, {}).setdefault(each.ref.namespace, []).append(each)
    return Mesh(config, tuple(named.values()), index)


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
