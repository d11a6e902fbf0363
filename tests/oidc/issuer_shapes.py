"""Tokens as the providers document them (sources stand in each profile), to be signed by a key of the tests' own."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from functools import cache
from typing import Any

from meshward.kit.secret import Secret
from meshward.oidc.issuer import TrustedIssuer
from meshward.oidc.jwk import parse_key
from meshward.oidc.keys import FixedKeys
from meshward.oidc.profiles import load_profile
from meshward.oidc.refusal import TokenRefused
from meshward.oidc.verify import VerifiedToken, Verifier
from tests.oidc.signing import NOW, Signer, issuer

TENANT, PERSON = "72f988bf-86f1-41af-91ab-2d7cd011db47", "690222be-ff1a-4d56-abd1-7e4f7d38e474"
APPLICATION = "6e74172b-be56-4843-9ff4-e66a39bb12e3"
V2, V1 = f"https://login.microsoftonline.com/{TENANT}/v2.0", f"https://sts.windows.net/{TENANT}/"
POOL = "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_AbCdEf123"
OKTA = "https://example.okta.com/oauth2/default"
REALM = "https://sso.example.com/realms/staff"
CLUSTER = "https://oidc.eks.eu-west-1.amazonaws.com/id/EXAMPLED539D4633E53DE1B71EXAMPLE"
GITHUB = "https://token.actions.githubusercontent.com"
GOOGLE = "https://accounts.google.com"
GOOGLE_CLIENT = "32555940559.apps.googleusercontent.com"


@dataclass(frozen=True)
class Shape:
    """One kind of token: whom the policy trusts, and a good token of theirs."""

    profile: str
    url: str
    header: dict[str, Any]
    claims: dict[str, Any]
    subject: str
    client: str | None
    audiences: frozenset[str] = frozenset({"api://models"})
    clients: frozenset[str] = frozenset()
    groups: str | None = None
    life: int = 3600

    def trusted(self) -> TrustedIssuer:
        made = issuer(
            url=self.url, profile=load_profile(self.profile), audiences=self.audiences, clients=self.clients
        )
        return TrustedIssuer(
            made.name, made.url, made.profile, made.audiences, made.clients, made.keys, self.groups
        )

    def token(self, header: dict[str, Any] | None = None, **over: Any) -> str:
        """The good token with claims replaced; None takes one away."""
        times = {"iss": self.url, "iat": NOW, "exp": NOW + self.life}
        claims = {name: value for name, value in (times | self.claims | over).items() if value is not None}
        head = {"alg": "RS256", "kid": "k1", **self.header} | (header or {})
        return rsa().sign(json.dumps(head).encode(), json.dumps(claims).encode())

    def ask(self, token: str) -> VerifiedToken | TokenRefused:
        key = parse_key(rsa().jwk())
        verifier = Verifier([FixedKeys(self.trusted(), {key.kid: key})], clock=lambda: NOW + 1)
        try:
            return asyncio.run(verifier.verify(Secret(token)))
        except TokenRefused as refusal:
            return refusal


@cache
def rsa() -> Signer:
    return Signer("RS256")


OKTA_PERSON = Shape(
    "okta", OKTA, {},
    {
        "ver": 1, "jti": "AT.0mP4JKAZX1iACIT4vbEDF7LpvDVjxypPMf0D7uX39RE", "aud": "api://models",
        "cid": "0oa9client7", "uid": "00u1a2b3c4D5e6F7g8h9", "scp": ["openid", "models.use"],
        "auth_time": NOW - 60, "sub": "ann@example.com", "groups": ["data-science"],
    },
    subject="00u1a2b3c4D5e6F7g8h9", client="0oa9client7",
)  # fmt: skip
OKTA_CLIENT = Shape(
    "okta", OKTA, {},
    {
        "ver": 1, "jti": "AT.1", "aud": "api://models", "cid": "0oa9client7", "scp": ["models.use"],
        "sub": "0oa9client7",
    },
    subject="0oa9client7", client="0oa9client7",
)  # fmt: skip
COGNITO_PERSON = Shape(
    "cognito", POOL, {},
    {
        "sub": "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee", "client_id": "3n4b5urk1ft4fl3mg5e62d9ado", "token_use": "access",
        "scope": "aws.cognito.signin.user.admin", "username": "ann", "cognito:groups": ["ds"], "version": 2,
        "origin_jti": "cccccccc-bbbb-cccc-dddd-eeeeeeeeeeee", "event_id": "b", "auth_time": NOW - 60, "jti": "d",
    },
    subject="aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee", client="3n4b5urk1ft4fl3mg5e62d9ado",
    audiences=frozenset(), clients=frozenset({"3n4b5urk1ft4fl3mg5e62d9ado"}),
)  # fmt: skip
COGNITO_CLIENT = Shape(
    "cognito", POOL, {},
    {
        "sub": "3n4b5urk1ft4fl3mg5e62d9ado", "client_id": "3n4b5urk1ft4fl3mg5e62d9ado", "token_use": "access",
        "scope": "models/use", "version": 2, "auth_time": NOW, "jti": "d",
    },
    subject="3n4b5urk1ft4fl3mg5e62d9ado", client="3n4b5urk1ft4fl3mg5e62d9ado",
    audiences=frozenset(), clients=frozenset({"3n4b5urk1ft4fl3mg5e62d9ado"}),
)  # fmt: skip
ENTRA_V2 = Shape(
    "entra", V2, {"typ": "JWT", "x5t": "sM1_yAxV8GV4yN-B6j2xzmiw5Ao"},
    {
        "aud": "api://models", "nbf": NOW, "aio": "AXQAi", "azp": APPLICATION, "azpacr": "0", "name": "Ann",
        "oid": PERSON, "preferred_username": "ann@example.com", "rh": "I", "scp": "models.use", "groups": [APPLICATION],
        "sub": "HKZpfaHyWadeOouYlitjrI-KffTm222X5rrV3xDqfKQ", "tid": TENANT, "uti": "fqiBqXLPj0eQa82S", "ver": "2.0",
    },
    subject=f"{TENANT}:{PERSON}", client=APPLICATION,
)  # fmt: skip
ENTRA_V1 = Shape(
    "entra", V1, {"typ": "JWT", "x5t": "i6lGk3FZzxRcUb2C3nEQ7syHJlY"},
    {
        "aud": "api://models", "nbf": NOW, "acr": "1", "amr": ["pwd"], "appid": APPLICATION, "appidacr": "0",
        "ipaddr": "203.0.113.9", "oid": PERSON, "scp": "models.use",
        "sub": "l3_roISQU222bULS9yi2k0XpqpOiMz5H3ZACo1GeXA",
        "tid": TENANT, "unique_name": "ann@example.com", "uti": "FVsGxYXI30-TuikuuUoFAA", "ver": "1.0",
    },
    subject=f"{TENANT}:{PERSON}", client=APPLICATION,
)  # fmt: skip
ENTRA_APP = Shape(
    "entra", V2, {"typ": "JWT"},
    {
        "aud": "api://models", "nbf": NOW, "azp": APPLICATION, "azpacr": "1", "oid": PERSON, "sub": PERSON,
        "roles": ["Models.Use"], "tid": TENANT, "uti": "f", "ver": "2.0",
    },
    subject=f"{TENANT}:{PERSON}", client=APPLICATION, groups="/roles",
)  # fmt: skip
KEYCLOAK = Shape(
    "keycloak", REALM, {"typ": "JWT"},
    {
        "jti": "onrtro:2", "aud": ["models", "account"], "sub": "9f8e7d6c-1111-2222-3333-444455556666", "typ": "Bearer",
        "azp": "meshward-cli", "sid": "s", "acr": "1", "scope": "openid email", "preferred_username": "ann",
        "realm_access": {"roles": ["ml-platform", "offline_access"]},
        "resource_access": {"account": {"roles": ["view-profile"]}},
    },
    subject="9f8e7d6c-1111-2222-3333-444455556666", client="meshward-cli", audiences=frozenset({"models"}),
)  # fmt: skip
KUBERNETES = Shape(
    "kubernetes", CLUSTER, {},
    {
        "aud": ["https://models.example.com"], "nbf": NOW, "jti": "ea28ed49",
        "sub": "system:serviceaccount:jobs:scorer",
        "kubernetes.io": {
            "namespace": "jobs", "node": {"name": "n", "uid": "1"}, "pod": {"name": "scorer-1", "uid": "2"},
            "serviceaccount": {"name": "scorer", "uid": "14ee3fa4-a7e2-420f-9f9a-dbc4507c3798"},
            "warnafter": NOW + 3607,
        },
    },
    subject="system:serviceaccount:jobs:scorer", client=None, audiences=frozenset({"https://models.example.com"}),
)  # fmt: skip
ACTIONS = Shape(
    "github-actions", GITHUB, {"typ": "JWT", "x5t": "example-thumbprint"},
    {
        "jti": "example-id", "sub": "repo:octocat@123456/models@701233:environment:production", "nbf": NOW - 600,
        "aud": "https://models.example.com", "environment": "production", "ref": "refs/heads/main",
        "sha": "example-sha",
        "repository": "octocat/models", "repository_owner": "octocat", "repository_id": "701233",
        "repository_owner_id": "123456", "repository_visibility": "private", "actor_id": "12", "actor": "octocat",
        "run_id": "1", "runner_environment": "github-hosted", "event_name": "workflow_dispatch",
        "workflow_ref": "octocat/models/.github/workflows/x.yml@refs/heads/main",
    },
    subject="repository_id:701233", client=None, audiences=frozenset({"https://models.example.com"}), life=300,
)  # fmt: skip
GOOGLE_ID = Shape(
    "oidc", GOOGLE, {"typ": "JWT"},
    {
        "azp": GOOGLE_CLIENT, "aud": GOOGLE_CLIENT, "sub": "110169484474386276334", "hd": "example.com",
        "email": "ann@example.com", "email_verified": True, "at_hash": "HK6E_P6Dh8Y93mRNtsDB1Q",
    },
    subject="110169484474386276334", client=GOOGLE_CLIENT, audiences=frozenset({GOOGLE_CLIENT}),
)  # fmt: skip

SHAPES: dict[str, Shape] = {
    "okta": OKTA_PERSON, "okta client credentials": OKTA_CLIENT, "cognito": COGNITO_PERSON,
    "cognito client credentials": COGNITO_CLIENT, "entra v2": ENTRA_V2, "entra v1": ENTRA_V1, "entra app": ENTRA_APP,
    "keycloak": KEYCLOAK, "kubernetes": KUBERNETES, "github-actions": ACTIONS, "google id token": GOOGLE_ID,
}  # fmt: skip
