"""What a placed plan means at each model's sidecar: the edge's exact routes, each for one permission. Nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from meshward.align.istio.jwks import key_id
from meshward.plan.ir import Plan
from meshward.plan.placement import MeshService, PlacedPlan

TOKEN_HEADER = "txn-token"  # noqa: S105 - a name


@dataclass(frozen=True, slots=True, order=True)
class Permitted:
    """One exact route, and the permission (`<model>.<action>`) that it takes."""

    method: str
    path: str
    permission: str


@dataclass(frozen=True, slots=True)
class Guarded:
    """A version behind a service of the mesh, and all that may reach it: by the edge alone."""

    model: str
    version: str
    place: MeshService
    routes: tuple[Permitted, ...]

    @property
    def name(self) -> str:
        return f"{self.model}/{self.version}"

    @property
    def labels(self) -> dict[str, str]:
        return dict(self.place.select)


@dataclass(frozen=True, slots=True)
class Expected:
    """`keys`: materials of the edge's signing keys, current and next; None where they are not told."""

    trust_domain: str
    edge: str  # its SPIFFE ID
    issuer: str
    audience: str
    guarded: tuple[Guarded, ...]
    keys: tuple[str, ...] | None

    @property
    def edge_principal(self) -> str:
        """As rules name it."""
        return self.edge.removeprefix("spiffe://")


def expect(placed: PlacedPlan, jwks: Sequence[Mapping[str, Any]] | None) -> Expected:
    """What `placed` means, with the edge's public keys where they are known."""
    plan = placed.plan
    held = _held(plan)
    return Expected(
        trust_domain=plan.trust_domain,
        edge=placed.edge_id,
        issuer=f"https://{plan.edge.hostname}",
        audience=plan.trust_domain,
        guarded=tuple(
            Guarded(
                model.name,
                version.name,
                place,
                tuple(
                    sorted(
                        Permitted(route.method, route.path, f"{model.name}.{action}")
                        for route, action in version.routes.items()
                        if model.name in held.get(action, frozenset())
                    )
                ),
            )
            for model, version, place in placed.services()
        ),
        keys=None if jwks is None else tuple(material for each in jwks if (material := key_id(each))),
    )


def _held(plan: Plan) -> dict[str, set[str]]:
    """The models of each action that some grant gives."""
    held: dict[str, set[str]] = {}
    for grant in plan.grants:
        for action in () if grant.shadow else grant.actions:
            held.setdefault(action, set()).update(grant.models.names)
    return held
