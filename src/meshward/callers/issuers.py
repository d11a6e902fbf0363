"""Between the plan's issuers and the verifier: whom to trust, and who a verified token says is calling."""

from __future__ import annotations

from meshward.decide.claims import attributes_of, claim
from meshward.decide.types import Identity
from meshward.oidc.issuer import KeyPlace, TrustedIssuer
from meshward.oidc.profiles import load_profile
from meshward.oidc.verify import MAX_SKEW, VerifiedToken
from meshward.plan.ir import Issuer


def trusted_issuer(issuer: Issuer) -> TrustedIssuer:
    """`issuer` for the verifier. Raises MeshwardError (MW2001) for a profile that does not exist."""
    place = KeyPlace(issuer.jwks_url, issuer.jwks_file, issuer.max_stale, issuer.allow)
    profile, clients = load_profile(issuer.profile), frozenset(issuer.clients)
    audiences = frozenset(issuer.audiences)
    return TrustedIssuer(issuer.name, issuer.url, profile, audiences, clients, place, issuer.groups)


def identity_of(token: VerifiedToken, issuer: Issuer) -> Identity:
    """The facts that decisions are made from. What is not there, or not of the right type, is absent."""
    return Identity(
        issuer=token.issuer,
        subject=token.subject,
        groups=_groups(token, issuer.groups or load_profile(issuer.profile).groups),
        claims=token.claims,
        attributes=attributes_of(issuer.attributes, token.claims),
        authenticated_at=_authenticated_at(token),
    )


def _groups(token: VerifiedToken, pointer: str | None) -> tuple[str, ...]:
    if pointer is None:
        return ()
    value = claim(token.claims, pointer)
    members = value if isinstance(value, list) else [value]
    return tuple(member for member in members if isinstance(member, str))


def _authenticated_at(token: VerifiedToken) -> int | None:
    """`auth_time`; one later than the token itself cannot be true and counts as unknown."""
    value = token.claims.get("auth_time")
    return value if type(value) is int and value <= token.issued_at + MAX_SKEW else None
