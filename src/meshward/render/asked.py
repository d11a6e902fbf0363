"""Which keys of a policy ask something of a path: those of other models and versions ask nothing of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import MappingProxyType

from meshward.plan.features import Requires
from meshward.plan.ir import Plan
from meshward.render.paths import Version

_MODELS, _VERSIONS, _KINDS, _SECRETS = "models.", "versions.", "servers.", "credentials"


@dataclass(frozen=True, slots=True)
class _Reached:
    """What is at the end of a path."""

    versions: frozenset[Version]
    models: frozenset[str]
    kinds: frozenset[str]  # of servers
    secrets: bool  # whether some server there demands a key


def asked_of(versions: Iterable[Version], requires: Requires, plan: Plan) -> Requires:
    """What `requires` asks of a path to `versions`. What could mean one of them, or anybody, is asked."""
    reached = frozenset(versions)
    found = [plan.version(*each) for each in reached]
    there = _Reached(
        reached,
        frozenset(model for model, _ in reached),
        frozenset(each.server for each in found),
        any(each.credential is not None for each in found),
    )
    kept = {
        feature: tuple(place for place in places if _concerns(place, there, plan))
        for feature, places in requires.items()
    }
    return MappingProxyType({feature: places for feature, places in kept.items() if places})


def _concerns(place: str, there: _Reached, plan: Plan) -> bool:
    if place.split(".")[0] == _SECRETS:
        return there.secrets
    if place.startswith(_KINDS):
        return any(kind in there.kinds for kind, _ in _split(place, _KINDS))
    meanings = [(name, rest) for name, rest in _split(place, _MODELS) if name in plan.models]
    return not meanings or any(_reaches(name, rest, there, plan) for name, rest in meanings)


def _reaches(model: str, rest: str, there: _Reached, plan: Plan) -> bool:
    known = {version.name for version in plan.models[model].versions}
    named = [(model, version) for version, _ in _split(rest, _VERSIONS) if version in known]
    return any(each in there.versions for each in named) if named else model in there.models


def _split(text: str, head: str) -> Iterator[tuple[str, str]]:
    """The names that may follow `head`, each with what is behind it: names may hold dots."""
    if not text.startswith(head):
        return
    rest = f"{text.removeprefix(head)}."
    for at, character in enumerate(rest):
        if character == ".":
            yield rest[:at], rest[at + 1 :]
