"""Whether a subject is a person: what `when: {person: ...}` asks."""

from __future__ import annotations

from meshward.decide.types import Identity
from meshward.plan.ir import Plan

_WORKLOAD_PROFILES = frozenset({"kubernetes", "github-actions"})
_CLIENT_CLAIMS = ("client_id", "cid", "azp")  # RFC 9068, Okta, Entra and Keycloak


def is_person(plan: Plan, identity: Identity) -> bool:
    """True unless something says that a program speaks in its own name.

    That is: no issuer, an issuer that vouches for workloads only, or a token of the client credentials grant.
    Such a token's `sub` is the client (RFC 9068, section 2.2); Entra marks it with `idtyp`, Keycloak by its
    user name.
    """
    issuer = plan.issuers.get(identity.issuer) if identity.issuer is not None else None
    if issuer is None or issuer.profile in _WORKLOAD_PROFILES:
        return False
    claims = identity.claims
    if claims.get("idtyp") == "app" or str(claims.get("preferred_username", "")).startswith(
        "service-account-"
    ):
        return False
    subject = claims.get("sub", identity.subject)
    return subject is None or all(claims.get(name) != subject for name in _CLIENT_CLAIMS)
