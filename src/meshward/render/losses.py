"""What a path may leave to nobody: a loss that is told, where all else is a refusal.

A loss lets nobody in: what then holds is narrower than the policy, or is no access control. `INSTEAD` says what holds
in its place. A feature that is not in it is never lost: without it somebody could get what no grant gives.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from meshward.plan.coverage import Gap
from meshward.plan.features import EVERY_REQUEST, Feature

INSTEAD: Mapping[Feature, str] = MappingProxyType(
    {
        # Facts that this release does not see yet: what asks for one holds for nobody.
        Feature.SHADOW: "a rule in shadow permits and denies nothing, and nothing is recorded of it",
        Feature.ON_REQUEST: "such a grant holds for nobody",
        Feature.VIA: "no model calls another, so what is given only through one is given to nobody",
        Feature.AGENTS: "no agent is let in",
        Feature.CALLS: "no model may call another",
        Feature.HOSTED_ENDPOINT: "nobody reaches it",
        Feature.HTTPS_UPSTREAM: "nobody reaches it",
        # How much, how long, which server: the decision stands.
        Feature.REQUEST_RATE: "requests are not counted",
        Feature.REQUEST_LEDGER: "requests are not counted over an hour or a day",
        Feature.TOKEN_BUDGET: "tokens are not counted",
        Feature.CONCURRENCY: "requests at the same time are not counted",
        Feature.SHARED_LIMIT: "callers are counted each by itself, or not at all",
        Feature.MAX_BODY: "a body may be as large as the edge's largest",
        Feature.TIMEOUT: "the edge's longest timeout holds for every model",
        Feature.WEIGHTS: "versions share requests as the mesh has it",
        Feature.REPLICAS: "one server answers, or those of its service do",
        Feature.HEALTH: "a server that cannot work is sent requests until whoever runs it takes it away",
        Feature.SERVER_CREDENTIAL: "no key is sent: a server that demands one answers nobody",
        Feature.PASSED_SUBJECT: "the server is not told who asks",
        Feature.CACHE: "every request is answered anew",
        # What is kept of it.
        Feature.BODY_DIGESTS: "the edge's digests alone are logged",
        Feature.CAPTURE: "no text is kept: digests alone",
        Feature.MAX_BLIND: "requests are refused after the default of 10 s",
        Feature.ALERT_WHEN_BLIND: "requests are refused once they could not be recorded",
        # Rights over the instance that nobody has yet.
        Feature.OPERATORS_AUDIT: "nobody reads others' records from afar",
        Feature.OPERATORS_OPEN: "nobody opens sealed texts: there are none",
        Feature.OPERATORS_ERASE: "nobody erases what a record says of a person",
        Feature.SEALING: "no text is sealed: none is kept",
    }
)


@dataclass(frozen=True, slots=True)
class Loss:
    """Something that the policy asks for and a path does not do. `keys`: of the policy, or `every request`."""

    feature: Feature
    path: str
    keys: tuple[str, ...]
    why: tuple[str, ...]  # what each hop says, in the order of the path
    instead: str

    @property
    def sentence(self) -> str:
        keys = ", ".join(key if key == EVERY_REQUEST else f"`{key}`" for key in self.keys)
        return f"{keys}: `{self.path}` does not enforce {self.feature.title}, so {self.instead}"


def lost(gap: Gap, keys: tuple[str, ...]) -> Loss | None:
    """`gap` as a loss; None: it must be refused."""
    instead = INSTEAD.get(gap.feature)
    if instead is None:
        return None
    said = tuple(f"{hop} {support}" for hop, support in gap.said)
    return Loss(gap.feature, gap.path.name, keys, said, instead)
