"""Objects by themselves: not taken, misspelled, a dry run, for another revision, or meaning other pods."""

from __future__ import annotations

from collections.abc import Iterator

from meshward.align.finding import Finding
from meshward.align.istio.filters import dry_run
from meshward.align.istio.objects import REVISION, MeshObject, is_marked, items, mapping, selector, text
from meshward.align.world import World
from meshward.kit import codes
from meshward.kit.text import quoted

_SECURITY = ("AuthorizationPolicy", "RequestAuthentication", "PeerAuthentication")


def find(world: World) -> Iterator[Finding]:
    attached = {each.ref for spot in world.spots for each in spot.sidecar.policies.values()}
    attached |= {provider.origin for spot in world.spots for provider in spot.sidecar.providers}
    for each in world.mesh.objects:
        if each.ref.kind not in _SECURITY or each.ref.namespace not in world.scope:
            continue
        ours = _is_ours(each, world.permissions, world.expected.issuer)
        if each.refused:
            what = f"the API server does not take it: {each.refused}"
            yield Finding(codes.ALIGN_NOT_TAKEN, what, each.ref)
        elif each.labels.get(REVISION, world.mesh.config.revision) != world.mesh.config.revision:
            if ours:
                what = f"Istio's revision {quoted(world.mesh.config.revision)} does not read it"
                yield Finding(codes.ALIGN_REVISION, what, each.ref)
        else:
            yield from _kept(world, each, ours, ours or each.ref in attached)


def _kept(world: World, each: MeshObject, ours: bool, concerned: bool) -> Iterator[Finding]:
    if concerned and each.dropped:
        named = ", ".join(map(quoted, each.dropped))
        what = f"the API server drops {named}: what it says is not in force"
        yield Finding(codes.ALIGN_FIELD_DROPPED, what, each.ref)
    if ours and each.ref.kind == "AuthorizationPolicy" and dry_run(each):
        yield Finding(codes.ALIGN_DRY_RUN, "it decides nothing: whom it lets in is refused", each.ref)
    if ours and selector(each) and not _meant(world, each):
        wanted = ", ".join(f"{key}={value}" for key, value in sorted(selector(each).items()))
        yield Finding(
            codes.ALIGN_SELECTOR, f"it selects {quoted(wanted)}, which is no guarded model", each.ref
        )


def _is_ours(each: MeshObject, permissions: frozenset[str], issuer: str) -> bool:
    """What we wrote, or what speaks of our permissions or issuer."""
    if is_marked(each):
        return True
    if each.ref.kind == "RequestAuthentication":
        return any(text(mapping(rule).get("issuer")) == issuer for rule in items(each.spec.get("jwtRules")))
    whens = [
        mapping(when) for rule in items(each.spec.get("rules")) for when in items(mapping(rule).get("when"))
    ]
    return any(
        value in permissions
        for when in whens
        for value in items(when.get("values"))
        if isinstance(value, str)
    )


def _meant(world: World, each: MeshObject) -> bool:
    """Whether it selects a guarded model's pods, or others that are known (the edge's own)."""
    wanted = selector(each).items()
    for spot in world.spots:
        if each.ref.namespace == spot.namespace and wanted <= spot.sidecar.workload.labels.items():
            return True
    edge = world.placed.edge
    if each.ref.namespace == edge.workload.namespace and wanted <= dict(edge.select).items():
        return True
    return any(pod.ref.namespace == each.ref.namespace and wanted <= pod.labels.items() for pod in world.pods)
