"""A policy on a site as files and a report. Pure: whoever calls it reads and writes.

1  the site widens nothing, and places what the target guards          check.site
2  each path decides what the policy decides; what is lost is told     report
3  each hop's files, from its own view of the plan alone               mesh, guards, edge
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from meshward.check.site import require_harmless
from meshward.kit import codes
from meshward.kit.errors import MeshwardError
from meshward.plan.coverage import Path
from meshward.plan.features import Can
from meshward.plan.ir import Plan
from meshward.plan.placement import Hosted, PlacedPlan
from meshward.policy.site import SiteDocument
from meshward.render.edge import edge_program
from meshward.render.guards import guard_files
from meshward.render.mesh import mesh_files
from meshward.render.paths import SitePath, mesh_paths, site_paths, unreached
from meshward.render.report import Report, describe_coverage
from meshward.render.wishes import Wishes
from meshward.targets.envoy.target import GUARD
from meshward.targets.istio.keys import nobodys_key

NO_KEYS = (
    "no key is known: every request will be refused until `--keys` or `--state` gives the edge's public keys"
)
_WAYPOINTS = "waypoints are rendered by Istio's rules and were never run by us: they need Istio's own Envoy"


@dataclass(frozen=True, slots=True)
class Rendering:
    """`files`: by path below the directory. `notes`: what else whoever applies them must know."""

    placed: PlacedPlan
    report: Report
    files: Mapping[str, bytes]
    notes: tuple[str, ...]


def render_site(
    plan: Plan,
    site: SiteDocument | None,
    wishes: Wishes,
    *,
    lua: Mapping[str, str],
    beside: Sequence[Path] = (),
    strict: bool = False,
) -> Rendering:
    """The steps of this module's head. `lua`: the edge's modules; `beside`: the paths to the instance itself.

    Raises PolicyInvalid with every problem of the site (exit 2) or of coverage (exit 4); MeshwardError for what a
    target cannot say.
    """
    placed, report = cover_site(plan, site, wishes, beside=beside, strict=strict)
    _require_guards(placed, wishes)
    files = _files(placed, wishes, lua)
    if not files:
        raise MeshwardError(
            codes.NOTHING_TO_RENDER, "no version is behind a guard elsewhere: there is none to render"
        )
    return Rendering(placed, report, files, _notes(placed, wishes, report))


def cover_site(
    plan: Plan,
    site: SiteDocument | None,
    wishes: Wishes,
    *,
    beside: Sequence[Path] = (),
    strict: bool = False,
) -> tuple[PlacedPlan, Report]:
    """Steps 1 and 2. Raises PolicyInvalid likewise."""
    placed = place_for(plan, site, wishes)
    paths = (*site_paths(placed), *(SitePath(path, ()) for path in beside))
    return placed, describe_coverage(placed.plan, paths, unreached(placed), strict=strict)


def place_for(plan: Plan, site: SiteDocument | None, wishes: Wishes) -> PlacedPlan:
    """`plan` where the target has it. Without a site a mesh has its convention, and one machine has all the rest."""
    placed = require_harmless(plan, site, whole=wishes.target == "istio")
    if site is None and wishes.target != "istio":
        hosted = {key: place for key, place in placed.places.items() if isinstance(place, Hosted)}
        return replace(placed, places=hosted, convention=("every version is on the edge's own machine",))
    return placed


def _require_guards(placed: PlacedPlan, wishes: Wishes) -> None:
    if wishes.target == "istio" and wishes.guard == "always" and placed.services():
        model, version, _ = placed.services()[0]
        message = (
            f"`--guard always`: the pods of {model.name}/{version.name}, and of every service, would get one"
        )
        raise MeshwardError(codes.NO_GUARD_IN_POD, message)


def _files(placed: PlacedPlan, wishes: Wishes, lua: Mapping[str, str]) -> dict[str, bytes]:
    keys = wishes.keys or (nobodys_key(),)
    if wishes.target == "nginx":
        return edge_program(placed.plan, lua)
    guards = guard_files(placed, keys) if wishes.guard != "never" or wishes.target == "envoy" else {}
    if wishes.target == "envoy":
        return guards
    return {
        **mesh_files(placed, wishes),
        **{f"guards/{path}": content for path, content in guards.items()},
    }


def _notes(placed: PlacedPlan, wishes: Wishes, report: Report) -> tuple[str, ...]:
    mesh = wishes.target == "istio" and bool(placed.services())
    left = ", ".join(left_to_a_guard(report)) if mesh and wishes.guard == "auto" else ""
    said = {
        NO_KEYS: not wishes.keys and wishes.target != "nginx",
        f"a guard in the pods would take {left}: none is rendered there yet": bool(left),
        _WAYPOINTS: mesh and placed.mesh.ambient,
    }
    return (*placed.convention, *(note for note, holds in said.items() if holds))


def left_to_a_guard(report: Report) -> tuple[str, ...]:
    """What is lost behind a service that a guard of ours in its pods would enforce, by title."""
    paths = {path.name for path in mesh_paths()} | {path.name for path in mesh_paths(ambient=True)}
    lost = (loss.feature for loss in report.losses if loss.path in paths)
    return tuple(feature.title for feature in lost if isinstance(GUARD.table.get(feature), Can))
