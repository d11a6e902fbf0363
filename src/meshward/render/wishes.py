"""What is asked of a rendering beside policy and site."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

TargetName = Literal["istio", "nginx", "envoy"]
GuardMode = Literal["always", "auto", "never"]
Routes = Literal["istio", "gateway-api"]
Allowed = Literal["envoyfilter"]


@dataclass(frozen=True, slots=True)
class Wishes:
    """`keys`: public JWKs of Transaction Tokens; none: everything is refused. The rest is of target istio.

    `guard`: whose directories are rendered beside a mesh's objects. `always`: of every version; `auto`: of those that
    the site places behind one; `never`: of none. `owned`: only our own ServiceAccount may write what guards the models.
    `mesh_wide`: strict mTLS and default deny for all of the mesh.
    """

    target: TargetName
    keys: Sequence[Mapping[str, Any]] = ()
    guard: GuardMode = "auto"
    routes: Routes = "istio"
    allow: frozenset[Allowed] = frozenset()
    owned: bool = False
    mesh_wide: bool = False
