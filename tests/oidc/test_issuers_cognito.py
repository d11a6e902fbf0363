"""The profile `cognito` against moto's Cognito server, driven by boto3 as a client of AWS would.

moto serves its keys on plain http while `iss` is AWS's https URL: the policy names the key set's URL.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from meshward.callers.issuers import identity_of, trusted_issuer
from meshward.kit.reasons import Reason
from meshward.kit.secret import Secret
from meshward.oidc.keys import IssuerKeys, key_document
from meshward.oidc.refusal import TokenRefused
from meshward.oidc.verify import VerifiedToken, Verifier
from meshward.plan.ir import Issuer
from meshward.plan.resolve import resolve
from meshward.policy.parse import Source, parse

REGION, PASSWORD = "eu-west-1", "Correct-horse-7"
GROUPS = ["ds", "night"]


@dataclass(frozen=True)
class Pool:
    """A user pool with one person in two groups, and the tokens of a login."""

    url: str
    id: str
    client: str
    sub: str
    tokens: dict[str, str]

    def issuer(self, **over: Any) -> Issuer:
        given = {
            "profile": "cognito",
            "region": REGION,
            "user_pool": self.id,
            "clients": [self.client],
        } | over
        given |= {
            "jwks": {"url": f"{self.url}/{self.id}/.well-known/jwks.json", "allow": ["http", "private"]}
        }
        text = f"""
version: 1
trust_domain: td.test
issuers: {{aws: {given!r}}}
roles: {{r: [{{issuer: aws, group: ds}}]}}
models: {{m: {{versions: {{v1: {{server: tei, url: "unix:/run/m.sock"}}}}}}}}
grants: [{{id: g, roles: [r], models: all, actions: [infer]}}]
"""
        return resolve(parse([Source("p.yaml", text.encode())]).policy).issuers["aws"]

    def verify(self, token: str, issuer: Issuer) -> VerifiedToken | TokenRefused:
        async def ask() -> VerifiedToken:
            keys = IssuerKeys(
                trusted_issuer(issuer), key_document(ssl.create_default_context()), lambda *_: None
            )
            return await Verifier([keys]).verify(Secret(token))

        try:
            return asyncio.run(ask())
        except TokenRefused as refusal:
            return refusal


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    api = boto3.client(
        "cognito-idp", region_name=REGION, endpoint_url=url, aws_access_key_id="x", aws_secret_access_key="x"
    )
    try:
        yield _pool_of(api, url)
    finally:
        server.stop()


def _pool_of(api: Any, url: str) -> Pool:
    pool = api.create_user_pool(PoolName="staff")["UserPool"]["Id"]
    client = api.create_user_pool_client(
        UserPoolId=pool, ClientName="cli", ExplicitAuthFlows=["ALLOW_USER_PASSWORD_AUTH"]
    )["UserPoolClient"]["ClientId"]
    made = api.admin_create_user(UserPoolId=pool, Username="ann", MessageAction="SUPPRESS")["User"]
    api.admin_set_user_password(UserPoolId=pool, Username="ann", Password=PASSWORD, Permanent=True)
    for group in GROUPS:
        api.create_group(UserPoolId=pool, GroupName=group)
        api.admin_add_user_to_group(UserPoolId=pool, Username="ann", GroupName=group)
    login = api.initiate_auth(
        ClientId=client,
        AuthFlow="USER_PASSWORD_AUTH",
        AuthParameters={"USERNAME": "ann", "PASSWORD": PASSWORD},
    )["AuthenticationResult"]
    sub = next(each["Value"] for each in made["Attributes"] if each["Name"] == "sub")
    return Pool(url, pool, client, sub, {"access": login["AccessToken"], "id": login["IdToken"]})


def test_a_persons_access_token(pool: Pool) -> None:
    issuer = pool.issuer()
    token = pool.verify(pool.tokens["access"], issuer)
    assert isinstance(token, VerifiedToken), token
    assert issuer.url == f"https://cognito-idp.{REGION}.amazonaws.com/{pool.id}"
    assert (token.subject, token.client) == (pool.sub, pool.client)
    assert token.scopes == ("aws.cognito.signin.user.admin",)
    identity = identity_of(token, issuer)
    assert identity.name == f"aws:{pool.sub}" and sorted(identity.groups) == GROUPS


def test_the_id_token_is_refused_by_name(pool: Pool) -> None:
    refusal = pool.verify(pool.tokens["id"], pool.issuer())
    assert isinstance(refusal, TokenRefused) and "ID token" in refusal.sentence


def test_another_client_and_another_pool(pool: Pool) -> None:
    """moto signs for every pool with one key, so only the claims tell them apart."""
    refusal = pool.verify(pool.tokens["access"], pool.issuer(clients=["another"]))
    assert isinstance(refusal, TokenRefused) and refusal.reason == Reason.AUDIENCE_REFUSED
    other = pool.verify(pool.tokens["access"], pool.issuer(user_pool=f"{REGION}_Other1"))
    assert isinstance(other, TokenRefused) and other.reason == Reason.ISSUER_UNKNOWN


def test_an_altered_signature(pool: Pool) -> None:
    """The control: it is moto's published key that the tests above were verified with."""
    refusal = pool.verify(pool.tokens["access"][:-4] + "AAAA", pool.issuer())
    assert isinstance(refusal, TokenRefused) and refusal.reason == Reason.SIGNATURE_INVALID
