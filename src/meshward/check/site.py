"""Whether a site may be used with a policy: it names what the policy has, and widens nothing."""

from __future__ import annotations

from collections.abc import Iterator

from meshward.kit import codes
from meshward.kit.errors import PolicyInvalid, Problem
from meshward.kit.text import nearest, quoted
from meshward.plan.ir import Plan
from meshward.policy.site import SiteDocument


def require_harmless(plan: Plan, document: SiteDocument) -> None:
    """Prove that the site widens nothing of `plan`. Raises PolicyInvalid with every problem."""
    problems = list(find_widening(plan, document))
    if problems:
        raise PolicyInvalid(problems)


def find_widening(plan: Plan, document: SiteDocument) -> Iterator[Problem]:
    """Why the site may not be used with `plan`; empty: it may."""
    yield from _find_unknown(plan, document)


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
