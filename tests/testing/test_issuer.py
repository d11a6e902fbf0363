"""An issuer's stand-in makes tokens that pass as those of every kind of issuer, and fails each check when asked to."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from meshward.callers.issuers import identity_of, trusted_issuer
from meshward.decide.types import Identity
from meshward.kit.reasons import Reason
from meshward.kit.secret import Secret
from meshward.kit.strict import base64url, json_object
from meshward.oidc.jwk import parse_key_set
from meshward.oidc.keys import FixedKeys
from meshward.oidc.refusal import TokenRefused
from meshward.oidc.verify import Verifier
from meshward.plan.ir import Issuer as Trusted
from meshward.plan.issuers import issuer
from meshward.policy import schema
from meshward.testing.issuer import Issuer

ENTRA = "72f988bf-86f1-41af-91ab-2d7cd011db47:690222be-ff1a-4d56-abd1-7e4f7d38e474"
GIVEN: dict[str, tuple[dict[str, Any], str]] = {
    "oidc": ({"issuer": "https://sso.test", "audience": "models"}, "ann"),
    "oidc elsewhere": ({"issuer": "https://sso.test", "audience": "models", "groups": "/a~1b/c"}, "ann"),
    "okta": ({"issuer": "https://example.okta.com/oauth2/default", "audience": "api://m"}, "00u1a2b3"),
    "cognito": ({"region": "eu-west-1", "user_pool": "eu-west-1_AbC", "clients": ["3n4b5urk"]}, "aaaa-bbbb"),
    "entra": ({"issuer": "https://login.microsoftonline.com/t/v2.0", "audience": "api://m"}, ENTRA),
    "keycloak": ({"issuer": "https://sso.test/realms/r", "audience": ["account", "models"]}, "9f8e"),
    "kubernetes": ({"issuer": "https://k.test", "audience": "https://m"}, "system:serviceaccount:jobs:scorer"),
    "github-actions": ({"audience": "https://m"}, "repository_id:701233"),
}  # fmt: skip


def trusted_as(kind: str) -> Trusted:
    given, _ = GIVEN[kind]
    return issuer("corp", schema.Issuer.model_validate({"profile": kind.split()[0], **given}))


def seen(kind: str, token: str, keys: Issuer, directory: Path) -> Identity | Reason:
    """Who the edge takes the bearer for, or why it refuses; the keys come from `keys`' file."""
    keys.write_jwks(directory / "jwks.json")
    known = parse_key_set((directory / "jwks.json").read_bytes())
    policys = trusted_as(kind)
    verifier = Verifier([FixedKeys(trusted_issuer(policys), known)])
    try:
        return identity_of(asyncio.run(verifier.verify(Secret(token))), policys)
    except TokenRefused as refusal:
        return refusal.reason


@pytest.mark.parametrize("kind", GIVEN)
def test_its_tokens_are_taken_for_those_of_the_issuer_that_it_stands_for(kind: str, tmp_path: Path) -> None:
    corp, subject = Issuer.of(trusted_as(kind)), GIVEN[kind][1]
    groups = () if kind == "github-actions" else ("science", "staff")
    found = seen(kind, corp.token(subject, groups), corp, tmp_path)
    assert isinstance(found, Identity), found
    assert (found.name, found.groups) == (f"corp:{subject}", groups)
    assert seen(kind, Issuer.of(trusted_as(kind)).token(subject), corp, tmp_path) is Reason.SIGNATURE_INVALID
    assert seen(kind, corp.token(subject, iat=0, exp=600), corp, tmp_path) is Reason.TOKEN_EXPIRED
    assert seen(kind, corp.token(subject, iss=None), corp, tmp_path) is Reason.ISSUER_UNKNOWN
    assert (
        seen(kind, corp.token(subject, header={"typ": "logout+jwt"}), corp, tmp_path)
        is Reason.TOKEN_TYPE_REFUSED
    )


def test_claims_and_header_are_what_is_given() -> None:
    token = Issuer().token("ann", ["science"], header={"typ": None, "kid": "k"}, aud=None, extra={"a": [1]})
    head, claims = (json_object(base64url(part)) for part in token.split(".")[:2])
    assert head == {"alg": "ES256", "kid": "k"}
    assert "aud" not in claims and claims["extra"] == {"a": [1]} and claims["groups"] == ["science"]


def test_a_subject_that_the_issuer_could_not_have_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"`ann` is no subject .* theirs are `\{tid\}:\{oid\}`"):
        Issuer(profile="entra").token("ann")
