"""A policy at a site: whether it may run there, and what a change of the site moves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from meshward.apply.live_revision import LiveRevision
from meshward.apply.local_paths import LOCAL
from meshward.apply.places import describe_place
from meshward.check.admission import admit, require_enforced
from meshward.check.site import require_harmless
from meshward.kit.errors import Problem
from meshward.plan.ir import Plan
from meshward.plan.placement import PlacedPlan, place
from meshward.plan.resolve import resolve
from meshward.policy.parse import Document
from meshward.policy.schema import Policy
from meshward.policy.site import Site, SiteDocument, parse_site, site_to_json
from meshward.policy.tree import Source
from meshward.render.paths import site_paths
from meshward.render.report import describe_coverage

HERE = "a guard of this machine"


@dataclass(frozen=True, slots=True)
class Sited:
    """A policy that may run at its site: its plan there, and the lints. `placed` is None on one machine."""

    plan: Plan
    placed: PlacedPlan | None
    findings: tuple[Problem, ...] = ()


def admit_at(document: Document, site: SiteDocument | Site | None, now: int) -> Sited:
    """`check.admission.admit` on the paths that there are at `site`; `now` is seconds since the epoch.

    Raises PolicyInvalid as that does, and for a site that may not be used with this policy.
    """
    found = _sited(document.policy, site)
    findings = admit(document, now, LOCAL)
    return replace(found, findings=(*findings, *_losses_elsewhere(found.placed)))


def require_enforced_at(policy: Policy, site: Site | None) -> Plan:
    """The plan of what was accepted once. Raises PolicyInvalid where this release does not enforce all of it there."""
    found = _sited(policy, site)
    require_enforced(policy, LOCAL)
    _losses_elsewhere(found.placed)
    return found.plan


def describe_moves(old: LiveRevision, new: LiveRevision) -> Iterator[str]:
    """Which versions that both have are somewhere else from now on, one sentence each."""
    for model in new.plan.models.values():
        for version in model.versions:
            key = f"{model.name}/{version.name}"
            was, now = _said(old.placed, key), _said(new.placed, key)
            if was != now and (key in old.slots or key in old.elsewhere):
                yield f"{key} moves from {was} to {now}"


def describe_places_of(plan: Plan | None, site: Site | None) -> dict[str, str]:
    """As `describe_places`, of a plan that is already as the site names things, or none."""
    return describe_places(place(plan, site) if plan is not None and site is not None else None)


def describe_places(placed: PlacedPlan | None) -> dict[str, str]:
    """Where each version is that is not on this machine, by `<model>/<version>`; for people."""
    return {key: describe_place(where) for key, where in (placed.elsewhere() if placed else {}).items()}


def _losses_elsewhere(placed: PlacedPlan | None) -> list[Problem]:
    """What the ways to versions elsewhere do not enforce, and lets nobody in. Raises PolicyInvalid for all else."""
    if placed is None:
        return []
    away = set(placed.elsewhere())
    ways = [way for way in site_paths(placed) if any("/".join(each) in away for each in way.versions)]
    return [
        Problem(loss.feature.code, loss.sentence, f"Because {'; '.join(loss.why)}.", severity="lint")
        for loss in describe_coverage(placed.plan, ways).losses
    ]


def _said(placed: PlacedPlan | None, key: str) -> str:
    return describe_places(placed).get(key, HERE)


def _sited(policy: Policy, site: SiteDocument | Site | None) -> Sited:
    plan = resolve(policy)
    if site is None:
        return Sited(plan, None)
    document = site if isinstance(site, SiteDocument) else _document(site)
    placed = require_harmless(plan, document)
    return Sited(placed.plan, placed)


def _document(site: Site) -> SiteDocument:
    """Of a site that is kept: its places are those of its one line."""
    return parse_site(Source("the site that runs", site_to_json(site).encode()))
