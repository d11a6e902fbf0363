"""Pods that are known: that run, that a Deployment or the like would start, or a ServiceEntry's endpoints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from meshward.align.istio.objects import Json, Mesh, MeshObject, Ref, items, mapping, text, texts

_TEMPLATES = ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job")


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
    """By namespace and name. What a Deployment owns is counted with it, but for pods, which show what they are."""
    return list(_pods(mesh))


def _pods(mesh: Mesh) -> Iterator[Pod]:
    for each in mesh.all("Pod"):
        yield Pod(each.ref, each.labels, each.annotations, each.spec, True)
    for kind in _TEMPLATES:
        for each in mesh.all(kind):
            if not items(mapping(each.body.get("metadata")).get("ownerReferences")):
                yield _template(each, mapping(each.spec.get("template")))
    for each in mesh.all("CronJob"):
        job = mapping(mapping(each.spec.get("jobTemplate")).get("spec"))
        yield _template(each, mapping(job.get("template")))
    for each in mesh.all("WorkloadEntry"):
        yield Pod(each.ref, texts(each.spec.get("labels")), {}, {}, False)
    for each in mesh.all("ServiceEntry"):
        for endpoint in items(each.spec.get("endpoints")):
            yield Pod(each.ref, texts(mapping(endpoint).get("labels")), {}, {}, False)


def _template(each: MeshObject, template: Mapping[str, Any]) -> Pod:
    metadata = mapping(template.get("metadata"))
    spec = dict(mapping(template.get("spec")))
    return Pod(each.ref, texts(metadata.get("labels")), texts(metadata.get("annotations")), spec, False)
