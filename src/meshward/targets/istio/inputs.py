"""What a mesh is given beside the policy and the site."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from meshward.plan.placement import Workload

ENVOYFILTER = "envoyfilter"
NET_FACTOR = 2  # the edge counts exactly; who sees more than twice that has met a caller who went round
Routes = Literal["istio", "gateway-api"]


@dataclass(frozen=True, slots=True)
class IstioInputs:
    """`keys`: public JWKs of Transaction Tokens, current and next (EC P-256); none known: every token is refused.

    `allow`: what is written on request only. `owner`: the ServiceAccount that alone may write what guards the models;
    None: the API server keeps nobody from it. `mesh_wide`: strict mTLS and default deny also in the root namespace,
    which is for every workload of the mesh, ours or not.
    """

    keys: Sequence[Mapping[str, Any]] = ()
    routes: Routes = "istio"
    allow: frozenset[str] = frozenset()
    owner: Workload | None = None
    mesh_wide: bool = False

    @property
    def envoy_filters(self) -> bool:
        return ENVOYFILTER in self.allow
