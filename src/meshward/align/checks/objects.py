"""Objects by themselves: not taken, misspelled, a dry run, for another revision, or meaning other pods."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from meshward.align.finding import Finding
from meshward.align.istio.filters import dry_run
from meshward.align.istio.objects import (
    REVISION,
    MeshObject,
    in_force,
    is_marked,
    items,
    mapping,
    selector,
    text,
)
from meshward.align.world import World
from meshward.kit import codes
from meshward.kit.text import quoted

_SECURITY = ("AuthorizationPolicy", "RequestAuthentication", "PeerAuthentication")


def find(world: World) -> Iterator[Finding]:
    attached = {each.ref for spot in world.spots for each in spot.sidecar.policies.values()}
    attached |= {provider.origin for spot in world.spots for provider in spot.sidecar.providers}
    pods = _Pods(world)
    for each in world.mesh.objects:
        if each.ref.kind not in _SECURITY or each.ref.namespace not in world.scope:
            continue
        ours = _is_ours(each, world.permissions, world.expected.issuer)
        if each.refused:
            what = f"the API server does not take it: {each.refused}"
            yield Finding(codes.ALIGN_NOT_TAKEN, what, each.ref)
            continue
        if ours and each.labels.get(REVISION, world.revision) != world.revision:
            what = f"Istio's revision {quoted(world.revision)} does not read it"
            yield Finding(codes.ALIGN_REVISION, what, each.ref)
        if in_force(each, world.mesh.config):
            yield from _kept(pods, each, ours, ours or each.ref in attached)


def _kept(pods: _Pods, each: MeshObject, ours: bool, concerned: bool) -> Iterator[Finding]:
    if concerned and each.dropped:
        named = ", ".join(map(quoted, each.dropped))
        what = f"the API server drops {named}: what it says is not in force"
        yield Finding(codes.ALIGN_FIELD_DROPPED, what, each.ref)
    if ours and each.ref.kind == "AuthorizationPolicy" and dry_run(each):
        yield Finding(codes.ALIGN_DRY_RUN, "it decides nothing: whom it lets in is refused", each.ref)
    if ours and selector(each) and not pods.meant(each):
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


class _Pods:
    """Labels of all pods that are known, and of the edge's, by one of them: who is meant by a selector."""

    def __init__(self, world: World) -> None:
        self._by: dict[tuple[str, str, str], list[Mapping[str, str]]] = {}
        edge = world.placed.edge
        self._add(edge.workload.namespace, dict(edge.select))
        for spot in world.spots:
            self._add(spot.namespace, spot.sidecar.workload.labels)
        for pod in world.pods:
            self._add(pod.ref.namespace, pod.labels)

    def _add(self, namespace: str, labels: Mapping[str, str]) -> None:
        for key, value in labels.items():
            self._by.setdefault((namespace, key, value), []).append(labels)

    def meant(self, each: MeshObject) -> bool:
        wanted = selector(each)
        found = [self._by.get((each.ref.namespace, key, value), []) for key, value in wanted.items()]
        return any(wanted.items() <= labels.items() for labels in min(found, key=len, default=[]))
