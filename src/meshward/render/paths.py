"""The ways to each version on a site: which hops a request meets there, by where the version is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import MappingProxyType

from meshward.edge.capabilities import CAPABILITIES as DECISION
from meshward.plan.coverage import Hop, Path, Way
from meshward.plan.features import Cannot, Feature, Table
from meshward.plan.ir import Plan
from meshward.plan.placement import Hosted, MeshService, PlacedPlan, RemoteGuard
from meshward.targets.envoy.target import GUARD
from meshward.targets.istio.capabilities import CAPABILITIES as MESH
from meshward.targets.nginx.target import EDGE

Version = tuple[str, str]  # model, version

_BY_SIDECAR: Table = MappingProxyType(
    {
        **EDGE.table,
        Feature.NEXT_HOP: Cannot(
            "it speaks plain HTTP to its own sidecar, which does: nginx verifies no URI", "site.md#places"
        ),
    }
)
_SHIPPED = Cannot(
    "its files are rendered, and name nobody who is revoked: a live token goes on, 65 s at most",
    "site.md#what-is-enforced-where-and-what-is-not-awaited",
)
_ELSEWHERE: Table = MappingProxyType(
    {**GUARD.table, Feature.REVOKED_SUBJECT: _SHIPPED, Feature.REVOKED_AGENT: _SHIPPED}
)
_DECIDE = Hop("decision service", DECISION)
_TO_GUARDS = (Hop("edge", EDGE.table), _DECIDE)
_TO_MESH = (Hop("edge", _BY_SIDECAR), _DECIDE)


@dataclass(frozen=True, slots=True)
class SitePath:
    """A way that requests for `versions` take, sorted; without any it is one to the instance itself."""

    path: Path
    versions: tuple[Version, ...]


def site_paths(placed: PlacedPlan) -> tuple[SitePath, ...]:
    """From clients, and from workloads that go straight to the last hop. A hosted endpoint has none yet."""
    kinds = (
        (mesh_paths(ambient=placed.mesh.ambient), _versions(placed, MeshService)),
        (_paths(_TO_GUARDS, Hop("guard elsewhere", _ELSEWHERE)), _versions(placed, RemoteGuard)),
        (_paths(_TO_GUARDS, Hop("guard", GUARD.table)), _versions(placed, None)),
    )
    return tuple(SitePath(path, versions) for paths, versions in kinds if versions for path in paths)


def mesh_paths(*, ambient: bool = False) -> tuple[Path, ...]:
    """Those to a version behind a service of a mesh."""
    return _paths(_TO_MESH, Hop("waypoint" if ambient else "sidecar", MESH))


def _paths(before: tuple[Hop, ...], last: Hop) -> tuple[Path, ...]:
    return (Path("client", Way.WHOLE, (*before, last)), Path("workload", Way.ROUND, (last,)))


def unreached(placed: PlacedPlan) -> tuple[Version, ...]:
    """Versions to which nothing of this release leads."""
    return _versions(placed, Hosted)


def _versions(placed: PlacedPlan, kind: type | None) -> tuple[Version, ...]:
    def is_one(version: Version) -> bool:
        place = placed.places.get(version)
        return place is None if kind is None else isinstance(place, kind)

    return tuple(version for version in _all(placed.plan) if is_one(version))


def _all(plan: Plan) -> Iterator[Version]:
    return ((model.name, version.name) for model in plan.models.values() for version in model.versions)
