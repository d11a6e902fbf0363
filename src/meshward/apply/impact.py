"""Which files at which hop a change would touch, and what it costs. Reads STATE; changes nothing."""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import dataclass

from meshward.apply.counters import load_counters
from meshward.apply.edge_hop import COST, load_facts, reload_reasons, widen_view
from meshward.apply.slots import assign_slots
from meshward.plan.ir import Plan
from meshward.runtime.place.directories import Run, State, run_path
from meshward.targets.envoy.files import bootstrap, changing_digests
from meshward.targets.envoy.listener import GuardSettings
from meshward.targets.envoy.projection import GuardPart
from meshward.targets.envoy.target import GUARD
from meshward.targets.envoy.wire import CREDENTIAL
from meshward.targets.nginx.target import EDGE

_DECISION = ("policy.json", "live.json")
_ANY_KEY = ({"kty": "EC", "crv": "P-256", "alg": "ES256", "kid": "any", "x": "any", "y": "any"},)


@dataclass(frozen=True, slots=True)
class Touched:
    hop: str
    files: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Impact:
    """`reload` says why nginx must be reloaded; empty: no proxy is."""

    hops: tuple[Touched, ...]
    starts: tuple[str, ...]
    stops: tuple[str, ...]
    reload: tuple[str, ...]

    def lines(self) -> list[str]:
        """For people."""
        return list(self._lines())

    def _lines(self) -> Iterator[str]:
        yield from (f"  {each.hop}: {', '.join(each.files)}" for each in self.hops)
        yield from (f"  a guard starts: {key}" for key in self.starts)
        yield from (f"  a guard drains and ends: {key}" for key in self.stops)
        if self.reload:
            yield f"  nginx reloads ({'; '.join(self.reload)}): {COST}"
        elif self.hops:
            yield "  no proxy is reloaded"


def impact_of(
    old: Plan | None, new: Plan, state: State, elsewhere: tuple[Container[str], Container[str]] = ((), ())
) -> Impact:
    """What `new` in place of `old` would touch. `elsewhere`: the versions that have no guard here, in either.

    Raises MeshwardError for what no hop could be given.
    """
    if old is not None and old.digest == new.digest and elsewhere[0] == elsewhere[1]:
        return Impact((), (), (), ())
    run = Run(run_path(state))
    slots = assign_slots(
        new, load_counters(state.path).slots if state.path.is_dir() else {}, (), elsewhere[1]
    )
    reasons: tuple[str, ...] = ()
    hops, starts, stops = [Touched("decision service", _DECISION)], list[str](), list[str]()
    for key, slot in slots.items():
        files = None if key in elsewhere[0] else _guard_files(old, new, key, slot, run)
        if files is None:
            starts.append(key)
        elif files:
            hops.append(Touched(f"guard of {key}", files))
    if old is not None:
        stops = [key for key in _keys(old) if key not in slots and key not in elsewhere[0]]
        before = load_facts(state.path) or EDGE.project(old, None)
        reasons = reload_reasons(before, widen_view(before, new))
    if reasons:
        hops.append(Touched("edge", ("nginx.conf",)))
    return Impact(tuple(hops), tuple(starts), tuple(stops), reasons)


def _guard_files(old: Plan | None, new: Plan, key: str, slot: int, run: Run) -> tuple[str, ...] | None:
    """The files of a running guard that differ; None where it must be started."""
    if old is None or key not in _keys(old):
        return None
    settings = GuardSettings(str(run.guard_dir(slot)), str(run.guard_given(slot)))
    views = [GUARD.project(plan, GuardPart(*key.split("/"))) for plan in (old, new)]
    if len({bootstrap(view, settings) for view in views}) > 1:
        return None
    before, after = (changing_digests(view, settings, _ANY_KEY) for view in views)
    kept = {plan.secret_of(*key.split("/")) for plan in (old, new)}
    stems = [stem for stem in after if before[stem] != after[stem]] + [CREDENTIAL] * (len(kept) - 1)
    return tuple(f"xds/{stem}.json" for stem in stems)


def _keys(plan: Plan) -> list[str]:
    return [f"{model.name}/{version.name}" for model in plan.models.values() for version in model.versions]
