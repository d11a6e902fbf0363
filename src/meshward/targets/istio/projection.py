"""What one version's sidecar enforces, and nothing more: the part of a placed plan that concerns its pods."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from meshward.plan.ir import Plan
from meshward.plan.permissions import open_permissions
from meshward.plan.placement import MeshService, PlacedPlan
from meshward.policy.schema import Action
from meshward.policy.values import Route
from meshward.targets.istio.inputs import NET_FACTOR


@dataclass(frozen=True, slots=True, order=True)
class PermittedRoutes:
    """What one permission (`<model>.<action>`) opens by one method: exact paths, sorted."""

    permission: str
    method: str
    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True, order=True)
class Net:
    """At most `count` requests in every `seconds` for one identity under one grant, at one pod."""

    grant: str
    count: int
    seconds: int


@dataclass(frozen=True, slots=True)
class MeshPart:
    """Which version, where its pods are, and who the edge is: a SPIFFE ID."""

    model: str
    version: str
    place: MeshService
    edge: str


@dataclass(frozen=True, slots=True)
class MeshView:
    """`caller`: the edge's SPIFFE ID, the only one that may come. `audience`: one that every token has.

    `routes`: what somebody may hold, some day. `weight`: the share of callers inside.
    """

    model: str
    version: str
    place: MeshService
    trust_domain: str
    caller: str
    issuer: str
    audience: str
    routes: tuple[PermittedRoutes, ...]
    nets: tuple[Net, ...]
    weight: int


def mesh_view(plan: Plan, part: MeshPart) -> MeshView:
    """What the sidecars of `part` enforce. Raises KeyError for an unknown version."""
    return _view(plan, part, open_permissions(plan), _nets(plan))


def mesh_views(placed: PlacedPlan, *, with_nets: bool) -> tuple[MeshView, ...]:
    """That of each version behind a service, by model and version; grants are read once."""
    held, nets = open_permissions(placed.plan), _nets(placed.plan) if with_nets else {}
    return tuple(
        _view(placed.plan, MeshPart(model.name, version.name, place, placed.edge_id), held, nets)
        for model, version, place in placed.services()
    )


def _view(
    plan: Plan,
    part: MeshPart,
    held: Mapping[Action, frozenset[str]],
    nets: Mapping[str, tuple[Net, ...]],
) -> MeshView:
    version = plan.version(part.model, part.version)
    return MeshView(
        model=part.model,
        version=part.version,
        place=part.place,
        trust_domain=plan.trust_domain,
        caller=part.edge,
        issuer=f"https://{plan.edge.hostname}",
        audience=plan.trust_domain,
        routes=_permitted(part.model, version.routes, held),
        nets=nets.get(part.model, ()),
        weight=version.weight,
    )


def _permitted(
    model: str, routes: Mapping[Route, Action], held: Mapping[Action, frozenset[str]]
) -> tuple[PermittedRoutes, ...]:
    found: dict[tuple[str, str], list[str]] = {}
    for route, action in routes.items():
        if model in held.get(action, frozenset()):
            found.setdefault((f"{model}.{action}", route.method), []).append(route.path)
    return tuple(PermittedRoutes(*key, tuple(sorted(paths))) for key, paths in sorted(found.items()))


def _nets(plan: Plan) -> Mapping[str, tuple[Net, ...]]:
    """By model, each by its grant."""
    found: dict[str, list[Net]] = {}
    for grant in sorted(plan.grants, key=lambda grant: grant.id):
        rate = None if grant.limits is None or grant.shadow else grant.limits.requests
        if rate is not None:
            net = Net(grant.id, NET_FACTOR * rate.count, rate.seconds)
            for model in grant.models.names:
                found.setdefault(model, []).append(net)
    return {model: tuple(nets) for model, nets in found.items()}


def by_namespace(views: Iterable[MeshView]) -> Mapping[str, tuple[MeshView, ...]]:
    """The guarded namespaces and what is in them, by name."""
    found: dict[str, list[MeshView]] = {}
    for view in views:
        found.setdefault(view.place.namespace, []).append(view)
    return {namespace: tuple(found[namespace]) for namespace in sorted(found)}
