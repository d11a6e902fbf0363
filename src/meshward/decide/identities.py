"""Identities out of what a person writes: `as:` in a policy's tests, `explain --as`."""

from __future__ import annotations

from collections.abc import Collection

from meshward.decide.claims import attributes_of
from meshward.decide.types import Identity
from meshward.kit import codes
from meshward.kit.errors import MeshwardError
from meshward.plan.ir import Plan
from meshward.policy.schema import As


def identity_from_claims(plan: Plan, as_: As, at: int | None = None) -> Identity:
    """The identity that `as_` speaks of. Without `authenticated`, it logged in at `at`.

    Attributes come from the claims as the issuer's entry says; those in `as_` win.
    Raises MeshwardError (MW0530) for an issuer, workload or agent that the policy does not know.
    """
    issuer = (
        plan.issuers[_require_known(as_.issuer, plan.issuers, "issuer")] if as_.issuer is not None else None
    )
    if as_.workload is not None:
        _require_known(as_.workload, plan.workloads, "workload")
    if as_.actor is not None:
        _require_known(as_.actor, plan.agents, "agent")
    return Identity(
        issuer=as_.issuer,
        subject=as_.subject,
        groups=tuple(as_.groups),
        claims=as_.claims,
        attributes=attributes_of(issuer.attributes if issuer else {}, as_.claims) | as_.attributes,
        workload=as_.workload,
        actors=(as_.actor,) if as_.actor is not None else (),
        authenticated_at=as_.authenticated.value if as_.authenticated is not None else at,
    )


def _require_known(name: str, names: Collection[str], kind: str) -> str:
    if name not in names:
        raise MeshwardError(
            codes.NOT_IN_POLICY,
            f"the policy has no {kind} `{name}`",
            f"known: {', '.join(sorted(names)) or 'none'}",
        )
    return name
