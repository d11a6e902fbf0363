"""Objects as they are compared and written: which one, what it says, whether two may concern one pod. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from meshward.cluster.connection import Object
from meshward.kit.canonical import canonical_json

SAYS = ("spec", "data", "binaryData")
"""Where an object of the kinds that we write says what it is for."""
DIGEST = "meshward/digest"
"""The annotation by which a rendered object names its own content; what is written in between has none."""


class Key(NamedTuple):
    """One object, in whichever version of its group it is read or written. `namespace`: empty for the cluster's own."""

    group: str
    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"


def key_of(body: Mapping[str, Any]) -> Key:
    group = str(body["apiVersion"]).rpartition("/")[0]
    meta = body["metadata"]
    return Key(group, str(body["kind"]), str(meta.get("namespace") or ""), str(meta["name"]))


def by_key(bodies: Iterable[Object]) -> dict[Key, Object]:
    return {key_of(body): body for body in bodies}


def manifest(live: Object) -> Object:
    """What somebody would write to have `live`: without what the server adds, defaults apart."""
    meta = live["metadata"]
    kept = {name: meta[name] for name in ("name", "namespace", "labels", "annotations") if meta.get(name)}
    said = {name: live[name] for name in SAYS if name in live}
    return {"apiVersion": live["apiVersion"], "kind": live["kind"], "metadata": kept, **said}


def spec_of(body: Mapping[str, Any]) -> Mapping[str, Any]:
    return body.get("spec") or {}


def between(body: Object, spec: Mapping[str, Any]) -> Object:
    """`body` as it is only on the way to another state."""
    meta = body["metadata"]
    marks = {name: value for name, value in (meta.get("annotations") or {}).items() if name != DIGEST}
    return {**body, "metadata": {**meta, "annotations": marks}, "spec": dict(spec)}


def stand_in(body: Object) -> Object:
    """`body` by another name, for as long as the one of this name still says something else."""
    meta = body["metadata"]
    return between({**body, "metadata": {**meta, "name": stand_in_name(meta["name"])}}, spec_of(body))


def stand_in_name(name: str) -> str:
    return f"{name}.next"


def scope(body: Mapping[str, Any]) -> str:
    """Which workloads an object is for, spelled one way."""
    chosen = {name: spec_of(body)[name] for name in _SCOPES if spec_of(body).get(name)}
    return canonical_json([body["metadata"].get("namespace"), chosen])


def is_for_all(body: Mapping[str, Any]) -> bool:
    """Whether it is for every workload of its namespace."""
    return not any(spec_of(body).get(name) for name in _SCOPES)


_SCOPES = ("selector", "targetRef", "targetRefs", "workloadSelector")


def may_meet(one: Mapping[str, Any], other: Mapping[str, Any], root_namespace: str) -> bool:
    """Whether a pod could be one that both are for. Who cannot tell says yes."""
    places = {key_of(one).namespace, key_of(other).namespace}
    if len(places) > 1 and root_namespace not in places:
        return False
    mine, theirs = _labels(one), _labels(other)
    return all(theirs.get(name, value) == value for name, value in mine.items())


def _labels(body: Mapping[str, Any]) -> Mapping[str, str]:
    spec = spec_of(body)
    chosen = spec.get("selector") or spec.get("workloadSelector") or {}
    labels = chosen.get("matchLabels") or chosen.get("labels") or {}
    return labels if isinstance(labels, Mapping) else {}
