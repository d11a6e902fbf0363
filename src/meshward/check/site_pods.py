"""No pod is behind two names: rules of a mesh hold for the pods that have their labels, all of them together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations_with_replacement

from meshward.check.site_findings import Path, SiteFindings
from meshward.kit import codes
from meshward.kit.errors import Problem
from meshward.kit.text import quoted
from meshward.plan.ir import Version
from meshward.plan.placement import PlacedPlan
from meshward.policy.positions import spell_path

Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class _Pods:
    """Those that a name has; `version` is None for the edge's."""

    path: Path
    model: str
    version: Version | None
    labels: Labels


def find_shared_pods(placed: PlacedPlan, findings: SiteFindings) -> Iterator[Problem]:
    """Labels that one pod of a namespace could have, of names that do not mean the same."""
    edge = _Pods(("edge", "select"), "", None, placed.edge.select)
    namespaces: dict[str, list[_Pods]] = {placed.edge.workload.namespace: [edge]}
    for model, version, place in placed.services():
        path = ("models", model.name, version.name, "select")
        pods = _Pods(path, model.name, version, place.select)
        namespaces.setdefault(place.namespace, []).append(pods)
    for name in sorted(namespaces):
        for first, second in _overlapping(namespaces[name]):
            if (why := _difference(first, second)) is not None:
                message = f"can hold for a pod that {quoted(spell_path(first.path))} holds for: {why}"
                yield findings.told(codes.PODS_SHARED, second.path, message)


def _difference(first: _Pods, second: _Pods) -> str | None:
    """Why the two may not share a pod; None: both mean the same of every request."""
    if first.version is None or second.version is None:
        return "the edge's pods are nobody else's"
    if first.model != second.model:
        return "a permission on one model would hold at the other"
    if first.version.routes != second.version.routes:
        return "their servers have other routes, and a pod would have both"
    return None


def _overlapping(pods: list[_Pods]) -> Iterator[tuple[_Pods, _Pods]]:
    """Each pair whose labels do not conflict. Those with the same keys are compared by their values at once."""
    by_keys: dict[frozenset[str], list[_Pods]] = {}
    for each in pods:
        by_keys.setdefault(frozenset(key for key, _ in each.labels), []).append(each)
    for one, other in combinations_with_replacement(by_keys, 2):
        shared = one & other
        by_values: dict[Labels, list[_Pods]] = {}
        for each in by_keys[one]:
            by_values.setdefault(_of(each.labels, shared), []).append(each)
        if one is other:
            # What does not differ from the first of them differs from none.
            yield from ((group[0], each) for group in by_values.values() for each in group[1:])
            continue
        for second in by_keys[other]:
            yield from ((first, second) for first in by_values.get(_of(second.labels, shared), ()))


def _of(labels: Labels, keys: frozenset[str]) -> Labels:
    return tuple((key, value) for key, value in labels if key in keys)
