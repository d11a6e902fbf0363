"""The ways to a model server from one edge, and what stands beside them: what `up` may run is proven of these."""

from __future__ import annotations

from types import MappingProxyType

from meshward.edge.capabilities import CAPABILITIES as DECISION
from meshward.kit.errors import Problem
from meshward.plan.coverage import Hop, Path, Way, find_unenforced
from meshward.plan.features import Can, Feature, NotYet, Requires, Table
from meshward.plan.placement import PlacedPlan, RemoteGuard
from meshward.plan.requirements import requirements
from meshward.policy.schema import Policy
from meshward.targets.envoy.target import GUARD
from meshward.targets.nginx.target import EDGE

INSTANCE: Table = MappingProxyType(
    {
        Feature.OPERATORS: Can(
            "the control API asks for the right that each verb takes, or for the owner's uid"
        ),
        Feature.OPERATORS_AUDIT: NotYet("records of others are read on the machine alone, by its owner"),
        Feature.OPERATORS_OPEN: NotYet("there are no sealed texts yet that anybody could open"),
        Feature.OPERATORS_ERASE: NotYet("records are not yet erased on anybody's wish"),
        Feature.SEALING: NotYet("records are not yet sealed"),
        Feature.RETENTION: Can(
            "the collector erases what is older; records that take all their room are not kept, and not erased either"
        ),
        Feature.UNKNOWN_KEY: NotYet("`up` does not know this key"),
    }
)
_GUARD = Hop("guard", GUARD.table)

LOCAL: tuple[Path, ...] = (
    Path("client", Way.WHOLE, (Hop("edge", EDGE.table), Hop("decision service", DECISION), _GUARD)),
    Path("workload", Way.ROUND, (_GUARD,)),
    Path("operator", Way.BESIDE, (Hop("instance", INSTANCE),)),
)
"""A client's request; that of a workload in the mesh which goes straight to a guard; an operator's, to the instance."""

_FAR = Hop("guard elsewhere", GUARD.table)
FAR: tuple[Path, ...] = (
    Path("client", Way.WHOLE, (Hop("edge", EDGE.table), Hop("decision service", DECISION), _FAR)),
    Path("workload", Way.ROUND, (_FAR,)),
)
"""The same, to versions behind a guard of ours on another machine."""


def find_unenforced_at(policy: Policy, placed: PlacedPlan | None) -> list[Problem]:
    """What `policy` asks for and a path does not enforce; empty: it is proven that it may run where `placed` says.

    A path is asked for what the versions need to which it leads.
    """
    asked = requirements(policy)
    if placed is None:
        return find_unenforced(asked, LOCAL)
    far = {key for key, where in placed.elsewhere().items() if isinstance(where, RemoteGuard)}
    found = find_unenforced(asked, LOCAL)
    if far:
        found += find_unenforced(concerning(asked, far), FAR)
    return list(dict.fromkeys(found))


def concerning(asked: Requires, versions: set[str]) -> Requires:
    """What of `asked` concerns some of `versions` (`<model>/<version>`): all but what stands under others' names."""
    pairs = [key.split("/") for key in versions]
    kept = {
        feature: tuple(place for place in places if any(_concerns(place, *pair) for pair in pairs))
        for feature, places in asked.items()
    }
    return {feature: places for feature, places in kept.items() if places}


def _concerns(place: str, model: str, version: str) -> bool:
    """A name may hold dots: where two could be meant, both are."""
    if not place.startswith("models."):
        return True
    above, own = f"models.{model}.versions.", f"models.{model}.versions.{version}"
    if place.startswith(above):
        return f"{place}.".startswith(f"{own}.")
    return f"{place}.".startswith(f"models.{model}.")
