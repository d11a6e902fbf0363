"""One revision on this machine: its policy, and which slot answers for which version."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from meshward.edge.instance_view import InstanceView
from meshward.plan.ir import Plan
from meshward.policy.schema import Policy

Guard = tuple[str, int]
"""`<model>/<version>` and its slot: a guard that moves to another slot is another guard."""


@dataclass(frozen=True, slots=True)
class LiveRevision:
    policy: Policy
    plan: Plan
    revision: int
    slots: Mapping[str, int]
    ejected: frozenset[str] = frozenset()  # `<model>/<version>` whose servers are all ill (`health`)

    def guards(self) -> tuple[Guard, ...]:
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
        )


def origin(plan: Plan) -> str:
    """The URL that clients use."""
    port = "" if plan.edge.port == 443 else f":{plan.edge.port}"
    return f"https://{plan.edge.hostname}{port}"
