"""The ways to a model server on one machine, and what stands beside them: what `up` may run is proven of these."""

from __future__ import annotations

from types import MappingProxyType

from meshward.edge.capabilities import CAPABILITIES as DECISION
from meshward.plan.coverage import Hop, Path, Way
from meshward.plan.features import Can, Feature, NotYet, Table
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
