"""One revision on this machine: its policy, where its versions are, and which slot answers for those that are here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from meshward.edge.instance_view import InstanceView
from meshward.plan.ir import Plan
from meshward.plan.placement import PlacedPlan, place
from meshward.policy.schema import Policy
from meshward.policy.site import Site, site_to_json
from meshward.targets.nginx.wire import Place

Guard = tuple[str, int]
"""`<model>/<version>` and its slot: a guard that moves to another slot is another guard."""


@dataclass(frozen=True, slots=True)
class LiveRevision:
    policy: Policy
    plan: Plan  # as `site` names things
    revision: int
    slots: Mapping[str, int]
    ejected: frozenset[str] = frozenset()  # `<model>/<version>` whose servers are all ill (`health`)
    site: Site | None = None
    elsewhere: Mapping[str, Place] = field(default_factory=dict)  # of those that have no slot

    @property
    def placed(self) -> PlacedPlan | None:
        """What the site says of where everything is."""
        return None if self.site is None else place(self.plan, self.site)

    def guards(self) -> tuple[Guard, ...]:
        """Those of this machine."""
        return tuple(sorted(self.slots.items()))

    def view(self, until: str = "") -> InstanceView:
        """What the decision service is told; `until`: the digest under which permits must hold as well."""
        return InstanceView(
            revision=self.revision,
            audience=self.plan.trust_domain,
            origin=origin(self.plan),
            slots={name: f"{slot:02d}" for name, slot in self.slots.items()},
            policy=self.plan.digest,
            until=until,
            ejected=tuple(sorted(self.ejected)),
            elsewhere={name: str(place) for name, place in self.elsewhere.items()},
            site="" if self.site is None else site_to_json(self.site),
        )


def origin(plan: Plan) -> str:
    """The URL that clients use."""
    port = "" if plan.edge.port == 443 else f":{plan.edge.port}"
    return f"https://{plan.edge.hostname}{port}"
