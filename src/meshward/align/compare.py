"""What runs, compared in meaning with what the policy and the site say: findings, or silence.

1. The plan says who may reach what (`expected`).
2. Every model's sidecar is read of the mesh's objects (`world`).
3. Each check asks one question of both; what it finds names the object.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from meshward.align.checks import chain, doors, identity, objects, reach, rights, routes, tokens, traffic
from meshward.align.documents import mesh_config
from meshward.align.expected import expect
from meshward.align.finding import Finding, merged
from meshward.align.istio.meshconfig import MeshConfig, read_config
from meshward.align.istio.objects import MeshObject, Ref, gather
from meshward.align.world import World, see
from meshward.kit import codes
from meshward.plan.placement import PlacedPlan

_CHECKS = (
    reach.find,
    tokens.find,
    doors.find,
    chain.find,
    objects.find,
    routes.find,
    traffic.find,
    identity.find,
    rights.find,
)


_SHOWN = 3
_RIGHTS = {"Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding"}


@dataclass(frozen=True, slots=True)
class Alignment:
    """`notes`: what was not looked at, and why; silence says nothing of it."""

    findings: tuple[Finding, ...]
    notes: tuple[str, ...]


def align(
    placed: PlacedPlan, found: Iterable[MeshObject], jwks: Sequence[Mapping[str, Any]] | None = None
) -> Alignment:
    """Of one target: Istio. `jwks`: the edge's public keys, current and next; None where they are not told."""
    mesh_objects = list(found)
    told = mesh_config(mesh_objects, placed.mesh.root_namespace, placed.mesh.revision)
    config = _config(placed, told[1] if told else None)
    ref = told[0] if told else None
    expected = expect(placed, jwks)
    world = see(expected, placed, gather(mesh_objects, config), ref)
    findings = [each for check in _CHECKS for each in check(world)]
    if placed.mesh.ambient and expected.guarded:
        what = "models behind a waypoint are not judged: only sidecars are"
        findings.append(Finding(codes.ALIGN_NOT_JUDGED, what))
    return Alignment(merged(findings), (*_notes(placed, ref, jwks), *_unseen(world)))


def _config(placed: PlacedPlan, body: object) -> MeshConfig:
    """What is not told is as the site says."""
    root, revision = placed.mesh.root_namespace, placed.mesh.revision
    if body is None:
        return MeshConfig(trust_domain=placed.plan.trust_domain, root_namespace=root, revision=revision)
    told = {"rootNamespace": root, **body} if isinstance(body, Mapping) else body
    return replace(read_config(told), revision=revision)


def _unseen(world: World) -> Iterable[str]:
    """What nobody could look at, because no object that would tell it was there."""
    there = {each.ref.kind for each in world.mesh.objects}
    without = [name for spot in world.spots if not spot.pods for name in spot.names]
    named = ", ".join(without[:_SHOWN]) + (" and more" if len(without) > _SHOWN else "")
    told = {
        f"whether pods of {named} have a sidecar (no Pod, Deployment or the like)": bool(without),
        "where services lead (no Service)": "Service" not in there,
        "injection and revisions (no Namespace)": "Namespace" not in there,
        "who may write (no roles and bindings)": not there & _RIGHTS,
    }
    missing = [what for what, unseen in told.items() if unseen and world.spots]
    if missing:
        yield f"not checked: {'; '.join(missing)}"


def _notes(placed: PlacedPlan, ref: Ref | None, jwks: object) -> Iterable[str]:
    root = placed.mesh.root_namespace
    if not placed.services():
        yield "not checked: any model, for none is behind a service of the mesh"
    if ref is None:
        yield (
            f"not checked: the mesh's configuration (no ConfigMap `istio` in `{root}`). Taken to be: the site's trust "
            "domain, no aliases, paths normalised as Istio does by itself"
        )
    if jwks is None:
        yield "not checked: whether keys are the edge's (--keys or --state); they were compared with one another"
