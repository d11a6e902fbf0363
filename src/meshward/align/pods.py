"""Pods that are known: that run, that a Deployment or the like would start, or a ServiceEntry's endpoints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from meshward.align.istio.objects import Json, Mesh, MeshObject, Ref, items, mapping, text, texts

_OWNERS = ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job", "CronJob")


@dataclass(frozen=True, slots=True)
class Pod:
    """`spec` is empty for an endpoint without a pod; `runs`: it is there, with what was injected into it."""

    ref: Ref
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    spec: Json
    runs: bool

    @property
    def account(self) -> str:
        return text(self.spec.get("serviceAccountName")) or text(self.spec.get("serviceAccount")) or "default"

    def containers(self) -> list[Mapping[str, Any]]:
        found = [*items(self.spec.get("initContainers")), *items(self.spec.get("containers"))]
        return [mapping(each) for each in found]


def pods(mesh: Mesh) -> list[Pod]:
    """By kind, namespace and name. What an owner that is known starts is counted with it, but for pods, which show
    what they are."""
    return list(_pods(mesh))


def _pods(mesh: Mesh) -> Iterator[Pod]:
    for each in mesh.all("Pod"):
        if mapping(each.body.get("status")).get("phase") not in ("Succeeded", "Failed"):
            yield Pod(each.ref, each.labels, each.annotations, each.spec, True)
    owners = {(kind, each.ref.namespace, each.ref.name) for kind in _OWNERS for each in mesh.all(kind)}
    for kind in sorted(mesh.index.keys()):
        for each in mesh.all(kind):
            template = _starts(each)
            if template and not any(owner in owners for owner in _owned_by(each)):
                yield _template(each, template)
    for each in mesh.all("WorkloadEntry"):
        yield Pod(each.ref, texts(each.spec.get("labels")), {}, {}, False)
    for each in mesh.all("ServiceEntry"):
        for endpoint in items(each.spec.get("endpoints")):
            yield Pod(each.ref, texts(mapping(endpoint).get("labels")), {}, {}, False)


def _starts(each: MeshObject) -> Mapping[str, Any]:
    """The template of the pods that it starts, whatever its kind: operators have their own."""
    job = mapping(mapping(each.spec.get("jobTemplate")).get("spec"))
    template = mapping((job or each.spec).get("template"))
    return template if mapping(template.get("spec")) else {}


def _owned_by(each: MeshObject) -> Iterator[tuple[str, str, str]]:
    for owner in map(mapping, items(mapping(each.body.get("metadata")).get("ownerReferences"))):
        yield text(owner.get("kind")), each.ref.namespace, text(owner.get("name"))


def _template(each: MeshObject, template: Mapping[str, Any]) -> Pod:
    metadata = mapping(template.get("metadata"))
    spec = dict(mapping(template.get("spec")))
    return Pod(each.ref, texts(metadata.get("labels")), texts(metadata.get("annotations")), spec, False)
