"""The proof that each path enforces all that a policy asks for, or the refusal: there is no warning here.

A hop's residue must be enforced by another hop of the same path. The facts of a decision must all be seen by one hop:
hops that each check what they see let pass, together, what no grant permits.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from meshward.kit import codes
from meshward.kit.errors import Problem
from meshward.plan.features import (
    ALWAYS,
    EVERY_REQUEST,
    Can,
    Feature,
    FeatureKind,
    NotYet,
    Requires,
    Support,
    Table,
    residue,
)

_ANOTHER_HOP = "give this path a hop that enforces it, or take what asks for it out of the policy"


class Way(Enum):
    """What kind of a path: it says what must be enforced on it."""

    WHOLE = "from a client to a server"
    ROUND = "straight to a later hop, past the one that decides"
    BESIDE = "to the instance itself"


_DOORS = frozenset({FeatureKind.DOOR, FeatureKind.EACH})
_WHOLE = frozenset(FeatureKind) - {FeatureKind.BESIDE}


@dataclass(frozen=True, slots=True)
class Hop:
    """An enforcement point, as refusals name it. On a path `BESIDE` it is a part of the instance."""

    name: str
    table: Table


@dataclass(frozen=True, slots=True)
class Path:
    """One way to a server, its hops in the order in which a request meets them."""

    start: str  # who comes this way: `client`, `workload`
    way: Way
    hops: tuple[Hop, ...]

    @property
    def name(self) -> str:
        return " -> ".join((self.start, *(hop.name for hop in self.hops)))


@dataclass(frozen=True, slots=True)
class Gap:
    """A feature that a path does not enforce, and what each of its hops says about it."""

    feature: Feature
    path: Path
    said: tuple[tuple[str, Support], ...]

    @property
    def sentence(self) -> str:
        said = "; ".join(f"{hop} {support}" for hop, support in self.said)
        return f"`{self.path.name}` does not enforce {self.feature.title}: {said}"


def find_unenforced(requires: Requires, paths: Sequence[Path]) -> list[Problem]:
    """Why a policy that asks for `requires` may not run on these paths; empty: it is proven that it may.

    Raises ValueError where there is nothing to prove it of.
    """
    if not any(path.way is Way.WHOLE for path in paths):
        raise ValueError("no path leads from a client to a server")
    asked = {**ALWAYS, **requires}
    gaps = [gap for path in paths for gap in find_gaps(path, asked)]
    told = [each for feature in asked for each in _explain_gaps(feature, asked[feature], gaps, paths)]
    return [*_outermost(told), *(problem for path in paths for problem in find_undecided(path, asked))]


def enforcers(path: Path, feature: Feature) -> tuple[str, ...]:
    """The hops of `path` that enforce `feature` in full."""
    return tuple(hop.name for hop in path.hops if isinstance(hop.table.get(feature), Can))


def demanded_of(path: Path, asked: Iterable[Feature]) -> tuple[Feature, ...]:
    """What of `asked` this path must enforce by itself.

    A path round the decider is closed by its doors: only the hop before, and only with its decision. Where a hop lets
    models call one another it is open, and what the hops before would have enforced must be enforced here.
    """
    wanted = tuple(asked)
    kinds = {Way.WHOLE: _WHOLE, Way.BESIDE: frozenset({FeatureKind.BESIDE}), Way.ROUND: _DOORS}[path.way]
    if path.way is Way.ROUND and Feature.CALLS in wanted and enforcers(path, Feature.CALLS):
        kinds |= {FeatureKind.PASSAGE}
    return tuple(feature for feature in wanted if feature.kind in kinds)


def find_gaps(path: Path, asked: Iterable[Feature]) -> Iterator[Gap]:
    """What of `asked` this path must enforce by itself and does not, in the order of `asked`."""
    for feature in demanded_of(path, asked):
        enough = len(path.hops) if feature.kind is FeatureKind.EACH else 1
        if len(enforcers(path, feature)) < enough:
            said = ((hop.name, hop.table[feature]) for hop in path.hops)
            yield Gap(feature, path, tuple(each for each in said if not isinstance(each[1], Can)))


def find_undecided(path: Path, asked: Iterable[Feature]) -> Iterator[Problem]:
    """The facts of the decision that some hop sees, but none together with all the others."""
    facts = [
        each
        for each in demanded_of(path, asked)
        if each.kind is FeatureKind.DECISION and enforcers(path, each)
    ]
    blind = {
        hop.name: [left.feature.title for left in residue(hop.table, facts)]
        for hop in path.hops
        if any(isinstance(hop.table[fact], Can) for fact in facts)
    }
    if facts and all(blind.values()):
        lacks = "; ".join(f"{hop} does not see {', '.join(titles)}" for hop, titles in blind.items())
        sentence = f"{EVERY_REQUEST}: no one hop of `{path.name}` decides: {lacks}"
        yield Problem(codes.DECISION_SPLIT, sentence, codes.DECISION_SPLIT.remedy)


@dataclass(frozen=True, slots=True)
class _Explanation:
    place: str
    problem: Problem


def _explain_gaps(
    feature: Feature, places: tuple[str, ...], gaps: Iterable[Gap], paths: Iterable[Path]
) -> Iterator[_Explanation]:
    concerned = [gap for gap in gaps if gap.feature is feature]
    if not concerned:
        return
    planned = [support.why for gap in concerned for _, support in gap.said if isinstance(support, NotYet)]
    nowhere = not any(enforcers(path, feature) for path in paths)
    sentences = planned[:1] if planned and nowhere else [gap.sentence for gap in concerned]
    remedy = feature.code.remedy if planned and nowhere else _ANOTHER_HOP
    for place in places:
        where = place if place == EVERY_REQUEST else f"`{place}`"
        for sentence in sentences:
            yield _Explanation(place, Problem(feature.code, f"{where}: {sentence}", remedy))


def _outermost(told: Sequence[_Explanation]) -> list[Problem]:
    """Without what is told of a key below one that is refused as a whole."""
    places = {each.place for each in told}
    return [each.problem for each in told if not any(above in places for above in _above(each.place))]


def _above(place: str) -> Iterator[str]:
    """`grants[g].limits` is above `grants[g].limits.requests`, `grants[g]` above both, `grants` above all."""
    return (place[:end] for end, character in enumerate(place) if character in ".[")
