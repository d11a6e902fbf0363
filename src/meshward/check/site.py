"""Whether a site may be used with a policy: it names what the policy has, and widens nothing.

Who may edit a site need not be who may edit the policy, so a site is read as an attacker's: each of its values may be
chosen to give somebody another's identity, place, labels or audience. What is asked of it is asked of the names that
hold without a site as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from meshward.check.site_findings import SiteFindings
from meshward.check.site_identities import find_moved, find_shared_identities
from meshward.check.site_places import find_unfit_places
from meshward.check.site_pods import find_shared_pods
from meshward.kit import codes
from meshward.kit.errors import PolicyInvalid, Problem
from meshward.kit.text import nearest, quoted
from meshward.plan.ir import Plan
from meshward.plan.placement import PlacedPlan, place
from meshward.policy.rules import MOST_PROBLEMS
from meshward.policy.site import SiteDocument


def require_harmless(plan: Plan, document: SiteDocument | None, *, whole: bool = False) -> PlacedPlan:
    """`plan` in that environment, proven to widen nothing; `whole`: it must also place every version.

    Raises PolicyInvalid with every problem.
    """
    placed = place(plan, None if document is None else document.site)
    problems = list(islice(find_widening(plan, document, whole=whole), MOST_PROBLEMS))
    if problems:
        raise PolicyInvalid(problems)
    return placed


def find_widening(plan: Plan, document: SiteDocument | None, *, whole: bool = False) -> Iterator[Problem]:
    """Why the site may not be used with `plan`; empty: it may. None is no site: names by convention."""
    placed = place(plan, None if document is None else document.site)
    findings = SiteFindings(None if document is None else document.positions)
    if document is not None:
        yield from _find_unknown(plan, document)
    yield from find_shared_identities(placed, findings)
    yield from find_unfit_places(placed, findings)
    yield from find_shared_pods(placed, findings)
    if whole:
        yield from _find_unplaced(placed, findings)


def site_lints(plan: Plan, document: SiteDocument) -> Iterator[Problem]:
    """What a reviewer of a site that may be used must see."""
    return find_moved(plan, place(plan, document.site), SiteFindings(document.positions))


def _find_unknown(plan: Plan, document: SiteDocument) -> Iterator[Problem]:
    site = document.site
    known = {"workloads": tuple(plan.workloads), "models": tuple(plan.models)}
    given: list[tuple[tuple[str, ...], tuple[str, ...]]] = [
        *((("workloads", name), known["workloads"]) for name in site.workloads),
        *((("models", name), known["models"]) for name in site.models),
        *(
            (("models", model, version), tuple(each.name for each in plan.models[model].versions))
            for model, versions in site.models.items()
            if model in plan.models
            for version in versions
        ),
    ]
    for path, names in given:
        if path[-1] not in names:
            meant = nearest(path[-1], names)
            remedy = f"Did you mean {quoted(meant)}?" if meant else codes.UNKNOWN_IN_POLICY.remedy
            message = f"{quoted('.'.join(path))}: the policy has no {quoted(path[-1])} there"
            yield Problem(codes.UNKNOWN_IN_POLICY, message, remedy, document.positions.key(path))


def _find_unplaced(placed: PlacedPlan, findings: SiteFindings) -> Iterator[Problem]:
    for model in placed.plan.models.values():
        for version in model.versions:
            if (model.name, version.name) not in placed.places:
                path = ("models", model.name, version.name)
                yield findings.told(codes.VERSION_WITHOUT_PLACE, path, "has no place")
