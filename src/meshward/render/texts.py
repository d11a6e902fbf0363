"""The report, as people and as programs read it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from meshward.plan.features import Cannot
from meshward.render.paths import Version
from meshward.render.report import HopReport, Left, PathReport, Report

_FEW = 8


def report_lines(report: Report) -> Iterator[str]:
    """Per path: who comes where, what each hop enforces, what it leaves and who takes that; then every loss."""
    for path in report.paths:
        yield f"{path.name}: {path.way.value}{_for(path.versions)}"
        for hop in path.hops:
            yield from _hop_lines(hop)
    for model, version in report.unreached:
        yield f"nothing leads to {model}/{version} yet"
    for loss in report.losses:
        yield f"! {loss.feature.code} {loss.sentence}"
        yield f"    {'; '.join(loss.why)}"


def _for(versions: Sequence[Version]) -> str:
    if not versions:
        return ""
    more = f", and {len(versions) - _FEW} more" if len(versions) > _FEW else ""
    return ", for " + ", ".join("/".join(each) for each in versions[:_FEW]) + more


def _hop_lines(hop: HopReport) -> Iterator[str]:
    yield f"  {hop.name}"
    if hop.enforces:
        yield f"    enforces {', '.join(feature.title for feature, _ in hop.enforces)}"
    taken: dict[tuple[str, ...], list[str]] = {}
    for left in hop.leaves:
        taken.setdefault(left.taken_by, []).append(left.feature.title)
    for takers, titles in sorted(taken.items(), key=lambda item: (not item[0], item[0])):
        yield f"    leaves to {' and '.join(takers) or 'nobody'}: {', '.join(titles)}"


def report_json(report: Report) -> Mapping[str, Any]:
    """`paths`, `losses` and `unreached`; the shape keeps its meaning from release to release."""
    return {
        "paths": [_path_json(path) for path in report.paths],
        "losses": [
            {
                "code": loss.feature.code.number,
                "feature": loss.feature.title,
                "path": loss.path,
                "keys": list(loss.keys),
                "why": list(loss.why),
                "instead": loss.instead,
            }
            for loss in report.losses
        ],
        "unreached": ["/".join(each) for each in report.unreached],
    }


def _path_json(path: PathReport) -> Mapping[str, Any]:
    return {
        "path": path.name,
        "way": path.way.name.lower(),
        "versions": ["/".join(each) for each in path.versions],
        "hops": [
            {
                "hop": hop.name,
                "enforces": [
                    {"feature": feature.title, "how": support.how} for feature, support in hop.enforces
                ],
                "leaves": [_left_json(left) for left in hop.leaves],
            }
            for hop in path.hops
        ],
    }


def _left_json(left: Left) -> Mapping[str, Any]:
    known = isinstance(left.support, Cannot)
    return {
        "feature": left.feature.title,
        "why": left.support.why,
        "later": not known,
        "link": left.support.link if isinstance(left.support, Cannot) else None,
        "taken_by": list(left.taken_by),
    }
