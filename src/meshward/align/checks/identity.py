"""Who may speak as the edge: the mesh's trust domain, the edge's ServiceAccount and revision."""

from __future__ import annotations

from collections.abc import Iterator

from meshward.align.finding import Finding
from meshward.align.injection import has_sidecar
from meshward.align.istio.objects import REVISION, Ref
from meshward.align.world import World
from meshward.kit import codes
from meshward.kit.text import quoted


def find(world: World) -> Iterator[Finding]:
    yield from _domains(world)
    yield from _accounts(world)
    yield from _revisions(world)


def _domains(world: World) -> Iterator[Finding]:
    config, ref = world.mesh.config, world.config_ref or Ref("MeshConfig", "", "istio")
    for alias in config.aliases:
        if alias != config.trust_domain:
            what = f"whoever has the edge's name under its alias {quoted(alias)} speaks as the edge"
            yield Finding(codes.ALIGN_TRUST_DOMAIN, what, ref)
    if config.authorities:
        what = "authorities beside the mesh's own sign for its workloads: whoever has their keys speaks as the edge"
        yield Finding(codes.ALIGN_TRUST_DOMAIN, what, ref)
    if config.trust_domain != world.expected.trust_domain:
        wanted = quoted(world.expected.trust_domain)
        what = f"the mesh's trust domain is {quoted(config.trust_domain)}, the site's is {wanted}"
        yield Finding(codes.ALIGN_TRUST_DOMAIN, what, ref)
    if config.root_namespace != (root := world.placed.mesh.root_namespace):
        what = f"what holds for the whole mesh is in {quoted(config.root_namespace)}, the site says {quoted(root)}"
        yield Finding(codes.ALIGN_TRUST_DOMAIN, what, ref)
    for name in config.unread:
        what = f"{quoted(name)} of the mesh's configuration is not what it should be"
        yield Finding(codes.ALIGN_NOT_JUDGED, what, ref)


def _accounts(world: World) -> Iterator[Finding]:
    edge = world.placed.edge
    for pod in world.pods:
        if (pod.ref.namespace, pod.account) != (edge.workload.namespace, edge.workload.service_account):
            continue
        if not pod.spec:
            continue
        if not set(edge.select) <= set(pod.labels.items()):
            what = (
                f"it speaks as the edge: it has its ServiceAccount {quoted(pod.account)}, and is not the edge"
            )
            yield Finding(codes.ALIGN_EDGE_ACCOUNT, what, pod.ref)
        elif not has_sidecar(world.mesh, pod):
            yield Finding(codes.ALIGN_CLOSED, "the edge has no sidecar: every model refuses it", pod.ref)


def _revisions(world: World) -> Iterator[Finding]:
    """Namespaces that another control plane serves than the site's."""
    wanted = world.revision
    concerned = {*world.namespaces, world.placed.edge.workload.namespace}
    for each in world.mesh.all("Namespace"):
        found = each.labels.get(REVISION)
        if each.ref.name in concerned and found is not None and found != wanted:
            what = f"pods here are of Istio's revision {quoted(found)}, the edge's is {quoted(wanted)}"
            yield Finding(codes.ALIGN_REVISION, what, each.ref)
    for spot in world.spots:
        for pod in spot.pods:
            found = pod.labels.get(REVISION)
            if found is not None and found != wanted:
                what = f"the pod is of Istio's revision {quoted(found)}, the edge's is {quoted(wanted)}"
                yield Finding(codes.ALIGN_REVISION, what, pod.ref, spot.names)
