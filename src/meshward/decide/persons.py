"""Whether a subject is a person: what `when: {person: ...}` asks."""

from __future__ import annotations

from collections.abc import Mapping

from meshward.decide.types import Identity
from meshward.plan.ir import Plan

_WORKLOAD_PROFILES = frozenset({"kubernetes", "github-actions"})
_CLIENT_CLAIMS = ("client_id", "cid", "azp")  # RFC 9068, Okta, Entra and Keycloak


def is_person(plan: Plan, identity: Identity) -> bool | None:
    """Whether a person stands at the beginning; None where the token of such an issuer does not tell.

    A program speaks in its own name where there is no issuer, where the issuer vouches for workloads only, or in a
    token of the client credentials grant. Such a token's `sub` is the client (RFC 9068, section 2.2), except
    Entra's, which has no scope that a person delegated (`scp`), and Keycloak's, which has no login session.
    """
    issuer = plan.issuers.get(identity.issuer) if identity.issuer is not None else None
    if issuer is None or issuer.profile in _WORKLOAD_PROFILES:
        return False
    claims = identity.claims
    subject = claims.get("sub", identity.subject)
    if subject is not None and any(claims.get(name) == subject for name in _CLIENT_CLAIMS):
        return False
    if claims.get("idtyp") == "app" or str(claims.get("preferred_username", "")).startswith(
        "service-account-"
    ):
        return False
    if issuer.profile == "entra":
        return isinstance(claims.get("scp"), str)
    if issuer.profile == "keycloak":
        return _is_keycloak_person(claims)
    return True


def _is_keycloak_person(claims: Mapping[str, object]) -> bool | None:
    """`client_id` and `clientHost` are put into service accounts' tokens only."""
    if "client_id" in claims or "clientHost" in claims:
        return False
    return True if "sid" in claims or "session_state" in claims else None
