"""Resolution of issuers: each kind of provider has its way of saying what its `iss` is."""

from __future__ import annotations

from meshward.plan import ir
from meshward.policy import schema


def issuer(name: str, given: schema.Issuer) -> ir.Issuer:
    """Raises ValueError where the policy does not say what the issuer's `iss` is."""
    if given.iss is None:
        raise ValueError(f"the issuer {name} says nothing of its URL")
    return ir.Issuer(
        name=name,
        profile=given.profile,
        url=given.iss,
        audiences=_audiences(given.audience),
        clients=tuple(given.clients),
        groups=given.groups.text if given.groups is not None else None,
        attributes=dict(sorted(given.attributes.items())),
        jwks_url=str(given.jwks.url) if given.jwks.url is not None else None,
        jwks_file=given.jwks.file,
        max_stale=given.jwks.max_stale.value,
        allow=frozenset(given.jwks.allow),
        login_client=given.login.client if given.login is not None else None,
    )


def _audiences(given: str | list[str] | None) -> tuple[str, ...]:
    if given is None:
        return ()
    return (given,) if isinstance(given, str) else tuple(given)
