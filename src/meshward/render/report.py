"""What each hop of a site's paths enforces, what it leaves, who takes that, and what nobody does.

What decides access and is seen by no hop of a path is refused; what else is left to nobody is told as a loss.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from meshward.kit import codes
from meshward.kit.errors import PolicyInvalid, Problem
from meshward.kit.exits import Exit
from meshward.plan.coverage import Gap, Path, Way, demanded_of, enforcers, find_gaps, find_undecided
from meshward.plan.features import ALWAYS, EVERY_REQUEST, Can, Cannot, Feature, NotYet, Requires
from meshward.plan.ir import Plan
from meshward.render.asked import asked_of
from meshward.render.losses import INSTEAD, Loss, lost
from meshward.render.paths import SitePath, Version

_REMEDY = "Give this path a hop that enforces it, or take what asks for it out of the policy."
_NO_WAY = ("this release: nothing leads to hosted endpoints yet",)


@dataclass(frozen=True, slots=True)
class Left:
    """What a hop does not enforce, and which hops of its path do."""

    feature: Feature
    support: Cannot | NotYet
    taken_by: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class HopReport:
    """`enforces`: each feature, and how."""

    name: str
    enforces: tuple[tuple[Feature, Can], ...]
    leaves: tuple[Left, ...]


@dataclass(frozen=True, slots=True)
class PathReport:
    """`versions`: whose requests come this way."""

    name: str
    way: Way
    versions: tuple[Version, ...]
    hops: tuple[HopReport, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """`unreached`: versions to which nothing leads yet."""

    paths: tuple[PathReport, ...]
    losses: tuple[Loss, ...]
    unreached: tuple[Version, ...]


def describe_coverage(
    plan: Plan, paths: Sequence[SitePath], unreached: Sequence[Version] = (), *, strict: bool = False
) -> Report:
    """What `paths` enforce of `plan`.

    Raises PolicyInvalid (exit 4) with all that decides access and no hop of a path decides; if `strict`, also with
    every loss.
    """
    refused: list[Problem] = []
    losses: list[Loss] = []
    reports: list[PathReport] = []
    requires = {**ALWAYS, **plan.requires}
    for each in paths:
        asked = asked_of(each.versions, requires, plan) if each.versions else requires
        if demanded_of(each.path, asked):
            reports.append(_describe_path(each, asked))
        for gap in find_gaps(each.path, asked):
            loss = lost(gap, asked[gap.feature])
            if loss is None:
                refused += _refuse(gap, asked[gap.feature])
            else:
                losses.append(loss)
        refused += find_undecided(each.path, asked)
    if refused:
        raise _uncovered_error(refused)
    losses += _losses_without_way(unreached)
    if strict and losses:
        raise _strict_error(losses)
    return Report(tuple(reports), tuple(losses), tuple(unreached))


def _refuse(gap: Gap, keys: tuple[str, ...]) -> Iterator[Problem]:
    for key in keys:
        where = key if key == EVERY_REQUEST else f"`{key}`"
        yield Problem(gap.feature.code, f"{where}: {gap.sentence}", _REMEDY)


def _uncovered_error(refused: list[Problem]) -> PolicyInvalid:
    found = f"{len(refused)} finding{'' if len(refused) == 1 else 's'} above"
    message = f"nobody on a path of this site would decide what the policy decides ({found})"
    return PolicyInvalid(
        [*refused, Problem(codes.NOT_COVERED, message, codes.NOT_COVERED.remedy)], Exit.UNSAFE
    )


def _strict_error(losses: list[Loss]) -> PolicyInvalid:
    told = [Problem(each.feature.code, each.sentence, f"Because {'; '.join(each.why)}.") for each in losses]
    count = f"{len(losses)} loss{'' if len(losses) == 1 else 'es'} above, and `--strict` takes none"
    return PolicyInvalid([*told, Problem(codes.LOSS_REFUSED, count, codes.LOSS_REFUSED.remedy)], Exit.UNSAFE)


def _losses_without_way(unreached: Sequence[Version]) -> Iterator[Loss]:
    feature = Feature.HOSTED_ENDPOINT
    for model, version in unreached:
        key = f"models.{model}.versions.{version}.server"
        yield Loss(feature, f"client -> {model}/{version}", (key,), _NO_WAY, INSTEAD[feature])


def _describe_path(site_path: SitePath, asked: Requires) -> PathReport:
    path = site_path.path
    wanted = demanded_of(path, asked)
    return PathReport(
        path.name,
        path.way,
        site_path.versions,
        tuple(_describe_hop(path, place, wanted) for place in range(len(path.hops))),
    )


def _describe_hop(path: Path, place: int, wanted: Sequence[Feature]) -> HopReport:
    hop = path.hops[place]
    said = [(feature, hop.table[feature]) for feature in wanted if feature in hop.table]
    return HopReport(
        hop.name,
        tuple((feature, support) for feature, support in said if isinstance(support, Can)),
        tuple(
            Left(feature, support, enforcers(path, feature))
            for feature, support in said
            if not isinstance(support, Can)
        ),
    )
