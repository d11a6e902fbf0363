"""Each profile with tokens of the documented shape, and with the ones that are easily taken for them."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path
from typing import Any, get_args

import pytest

from meshward.apply.local_paths import LOCAL
from meshward.callers.issuers import identity_of, trusted_issuer
from meshward.decide.persons import is_person
from meshward.kit.errors import MeshwardError
from meshward.kit.reasons import Reason
from meshward.oidc import known
from meshward.oidc.known import ACCEPTED
from meshward.oidc.profiles import load_profile
from meshward.oidc.refusal import TokenRefused
from meshward.oidc.verify import VerifiedToken
from meshward.plan.coverage import find_unenforced
from meshward.plan.ir import Issuer, Plan
from meshward.plan.requirements import requirements
from meshward.plan.resolve import resolve
from meshward.policy.parse import Source, parse
from meshward.policy.schema import Policy, Profile
from tests.oidc.issuer_shapes import (
    ACTIONS,
    COGNITO_PERSON,
    ENTRA_APP,
    ENTRA_V1,
    ENTRA_V2,
    GOOGLE_ID,
    KEYCLOAK,
    KUBERNETES,
    OKTA_CLIENT,
    OKTA_PERSON,
    POOL,
    SHAPES,
    TENANT,
    V1,
    V2,
    Shape,
)
from tests.oidc.signing import NOW

NAMES = get_args(Profile)
ROOT = Path(__file__).parents[2]


def plan_of(**issuers: dict[str, Any]) -> Plan:
    model = {"versions": {"v1": {"server": "tei", "url": "unix:/run/m.sock"}}}
    policy = {
        "version": 1, "trust_domain": "td.test", "edge": {}, "issuers": issuers, "models": {"m": model},
        "grants": [], "roles": {},
    }  # fmt: skip
    return resolve(Policy.model_validate(policy))


def refused(shape: Shape, token: str) -> TokenRefused:
    found = shape.ask(token)
    assert isinstance(found, TokenRefused), "the token was accepted"
    assert found.sentence.isascii() and found.sentence.isprintable() and not set('"\\') & set(found.sentence)
    return found


# --- the good ones


@pytest.mark.parametrize("name", SHAPES)
def test_a_token_of_the_documented_shape_is_verified(name: str) -> None:
    shape = SHAPES[name]
    token = shape.ask(shape.token())
    assert isinstance(token, VerifiedToken), token
    assert (token.subject, token.client) == (shape.subject, shape.client)


@pytest.mark.parametrize("name", SHAPES)
def test_of_every_shape_each_thing_that_is_wrong_is_refused(name: str) -> None:
    shape = SHAPES[name]
    other = "https://evil.example"
    for over in (
        {"iss": other}, {"iss": f"{shape.url}x"}, {"exp": None}, {"iat": None}, {"exp": NOW}, {"cnf": {"jkt": "x"}},
        {"exp": NOW + 86401}, {"iat": NOW + 60, "exp": NOW + 120}, {"exp": f"{NOW + 60}"},
        {"aud": other, "client_id": other}, {"aud": None, "client_id": None}, {"events": {}}, {"exp": True},
    ):  # fmt: skip
        refused(shape, shape.token(**over))
    for header in ({"typ": "logout+jwt"}, {"typ": "dpop+jwt"}, {"alg": "HS256"}, {"alg": "none"}, {"kid": "k2"},
                   {"jku": other}, {"nonce": "x"}):  # fmt: skip
        refused(shape, shape.token(header))


@pytest.mark.parametrize("name", SHAPES)
def test_without_what_the_policy_names_nothing_is_accepted(name: str) -> None:
    shape = SHAPES[name]
    nothing = Shape(shape.profile, shape.url, shape.header, shape.claims, "", None, frozenset(), frozenset())
    assert refused(nothing, shape.token()).reason == Reason.AUDIENCE_REFUSED


def test_groups_and_scopes() -> None:
    for shape, groups, scopes in (
        (OKTA_PERSON, ("data-science",), ("openid", "models.use")),
        (OKTA_CLIENT, (), ("models.use",)),
        (COGNITO_PERSON, ("ds",), ("aws.cognito.signin.user.admin",)),
        (ENTRA_APP, ("Models.Use",), ()),
        (ENTRA_V2, (ENTRA_V2.claims["azp"],), ("models.use",)),
        (KEYCLOAK, ("ml-platform", "offline_access"), ("openid", "email")),
        (KUBERNETES, ("jobs",), ()),
        (ACTIONS, (), ()),
        (GOOGLE_ID, (), ()),
    ):
        token = shape.ask(shape.token())
        assert isinstance(token, VerifiedToken)
        issuer = issuer_of(shape)
        assert identity_of(token, issuer).groups == groups, shape.profile
        assert token.scopes == scopes, shape.profile


def issuer_of(shape: Shape) -> Issuer:
    given: dict[str, Any] = {"profile": shape.profile, "issuer": shape.url, "audience": "a"}
    return plan_of(corp=given | ({"groups": shape.groups} if shape.groups else {})).issuers["corp"]


@pytest.mark.parametrize(
    ("name", "person"),
    [
        (name, name in ("okta", "cognito", "entra v2", "entra v1", "keycloak", "google id token"))
        for name in SHAPES
    ],
)
def test_people_are_told_from_programs(name: str, person: bool) -> None:
    shape = SHAPES[name]
    token = shape.ask(shape.token())
    assert isinstance(token, VerifiedToken)
    given = {"profile": shape.profile, "issuer": shape.url, "audience": "a"}
    plan = plan_of(corp=given)
    assert is_person(plan, identity_of(token, plan.issuers["corp"])) is person


# --- okta


def test_okta_an_org_servers_token_is_refused_with_the_server_to_use() -> None:
    for token in (
        OKTA_PERSON.token({"typ": "application/okta-internal-at+jwt"}, iss="https://example.okta.com"),
        OKTA_PERSON.token({"typ": "application/okta-internal-at+jwt"}),
        OKTA_PERSON.token(iss="https://example.okta.com"),
    ):
        refusal = refused(OKTA_PERSON, token)
        assert "org server" in refusal.sentence and "/oauth2/default" in refusal.sentence
    assert "org server" not in refused(OKTA_PERSON, OKTA_PERSON.token(iss="https://other.okta.com")).sentence


def test_okta_who_has_no_uid_must_be_a_client() -> None:
    """A person whose uid was lost is not the client that they use."""
    assert refused(OKTA_PERSON, OKTA_PERSON.token(uid=None)).reason == Reason.SUBJECT_REFUSED
    for uid in (7, "", ["00u"], {"a": 1}):
        assert refused(OKTA_CLIENT, OKTA_CLIENT.token(uid=uid)).reason == Reason.SUBJECT_REFUSED
    assert "cid" in refused(OKTA_PERSON, OKTA_PERSON.token(cid=None)).sentence


# --- cognito


def test_cognito_the_client_is_the_audience() -> None:
    assert (
        refused(COGNITO_PERSON, COGNITO_PERSON.token(client_id="another")).reason == Reason.AUDIENCE_REFUSED
    )
    assert (
        refused(COGNITO_PERSON, COGNITO_PERSON.token(client_id=["3n4b5urk1ft4fl3mg5e62d9ado"])).reason
        == Reason.AUDIENCE_REFUSED
    )
    identity = COGNITO_PERSON.token(token_use="id", aud="3n4b5urk1ft4fl3mg5e62d9ado")
    assert "ID token" in refused(COGNITO_PERSON, identity).sentence
    without_client = COGNITO_PERSON.token(token_use="id", aud="3n4b5urk1ft4fl3mg5e62d9ado", client_id=None)
    assert "ID token" in refused(COGNITO_PERSON, without_client).sentence


def test_cognito_an_audience_of_the_policy_must_hold_too() -> None:
    """RFC 8707: a client that asked with a resource gets `aud`."""
    shape = COGNITO_PERSON
    bound = Shape(
        shape.profile, POOL, {}, shape.claims, shape.subject, shape.client, frozenset({"res"}), shape.clients
    )
    assert isinstance(bound.ask(shape.token(aud="res")), VerifiedToken)
    assert refused(bound, shape.token()).reason == Reason.AUDIENCE_REFUSED


def test_cognito_derives_its_issuer_from_region_and_pool() -> None:
    plan = plan_of(
        aws={
            "profile": "cognito",
            "region": "eu-west-1",
            "user_pool": "eu-west-1_AbCdEf123",
            "clients": ["c"],
        }
    )
    assert trusted_issuer(plan.issuers["aws"]).url == POOL


# --- entra


def test_entra_overage_is_named_as_what_it_is() -> None:
    for over in (
        {
            "groups": None,
            "_claim_names": {"groups": "src1"},
            "_claim_sources": {"src1": {"endpoint": "https://graph"}},
        },
        {"groups": None, "hasgroups": True},
    ):
        refusal = refused(ENTRA_V2, ENTRA_V2.token(**over))
        assert refusal.reason == Reason.CLAIMS_REFUSED and "overage" in refusal.sentence
        elsewhere = ENTRA_APP.ask(
            ENTRA_V2.token(**over)
        )  # groups are read from /roles there: nothing is missing
        assert isinstance(elsewhere, VerifiedToken)


def test_entra_the_other_version_is_named() -> None:
    assert "v1" in refused(ENTRA_V2, ENTRA_V1.token()).sentence
    assert "v2" in refused(ENTRA_V1, ENTRA_V2.token()).sentence
    other = V1.replace(TENANT, "11111111-1111-1111-1111-111111111111")
    assert "not trusted" in refused(ENTRA_V2, ENTRA_V1.token(iss=other)).sentence
    assert V2 != V1


def test_entra_a_token_for_graph_is_named() -> None:
    assert "Graph" in refused(ENTRA_V2, ENTRA_V2.token({"nonce": "x"})).sentence


@pytest.mark.parametrize(
    "over", [{"oid": None}, {"tid": None}, {"oid": "x"}, {"tid": f"{TENANT}:"}, {"oid": 7}, {"ver": "3.0"}]
)
def test_entra_needs_tenant_and_object(over: dict[str, Any]) -> None:
    refused(ENTRA_V2, ENTRA_V2.token(**over))


# --- keycloak


def test_keycloak_the_account_audience_proves_nothing() -> None:
    refusal = refused(KEYCLOAK, KEYCLOAK.token(aud="account"))
    assert refusal.reason == Reason.AUDIENCE_REFUSED and "mapper" in refusal.sentence
    claims = KEYCLOAK.claims | {"aud": "account"}
    careless = Shape("keycloak", KEYCLOAK.url, KEYCLOAK.header, claims, "", None, frozenset({"account"}))
    assert refused(careless, careless.token()).reason == Reason.AUDIENCE_REFUSED
    picky = Shape(
        "keycloak",
        KEYCLOAK.url,
        KEYCLOAK.header,
        claims,
        "",
        None,
        frozenset({"account"}),
        frozenset({"meshward-cli"}),
    )
    assert isinstance(picky.ask(picky.token()), VerifiedToken)
    assert refused(picky, picky.token(azp="another")).reason == Reason.AUDIENCE_REFUSED


@pytest.mark.parametrize("typ", ["ID", "Refresh", "Offline", "DPoP", None])
def test_keycloak_other_kinds_of_tokens(typ: str | None) -> None:
    assert "access" in refused(KEYCLOAK, KEYCLOAK.token(typ=typ)).sentence


# --- kubernetes


def test_kubernetes_only_projected_tokens() -> None:
    legacy = {
        "iss": "kubernetes/serviceaccount", "aud": None, "exp": None, "iat": None, "kubernetes.io": None,
        "kubernetes.io/serviceaccount/namespace": "jobs", "kubernetes.io/serviceaccount/secret.name": "scorer-token-x",
        "kubernetes.io/serviceaccount/service-account.name": "scorer", "sub": "system:serviceaccount:jobs:scorer",
    }  # fmt: skip
    assert "projected token" in refused(KUBERNETES, KUBERNETES.token(**legacy)).sentence
    for over in (legacy | {"iss": None}, {"aud": None}, {"exp": None}, {"kubernetes.io": None}):
        over = {name: value for name, value in over.items() if name != "iss"}
        assert "projected token" in refused(KUBERNETES, KUBERNETES.token(**over)).sentence, over
    for name in (
        "kubernetes.io/serviceaccount/secret.name",
        "kubernetes.io/serviceaccount/service-account.name",
    ):
        assert refused(KUBERNETES, KUBERNETES.token(**{name: "x"})).reason == Reason.CLAIMS_REFUSED


def test_kubernetes_the_api_servers_audience_proves_nothing() -> None:
    default = "https://kubernetes.default.svc"
    careless = Shape("kubernetes", KUBERNETES.url, {}, KUBERNETES.claims, "", None, frozenset({default}))
    assert refused(careless, careless.token(aud=[default])).reason == Reason.AUDIENCE_REFUSED


@pytest.mark.parametrize(
    "sub", ["scorer", "system:serviceaccount:jobs", "system:node:n", "system:serviceaccount:a:b:c"]
)
def test_kubernetes_only_service_accounts(sub: str) -> None:
    assert refused(KUBERNETES, KUBERNETES.token(sub=sub)).reason == Reason.SUBJECT_REFUSED


# --- github


@pytest.mark.parametrize(
    "over",
    [
        {"repository_id": None},
        {"repository_id": 701233},
        {"repository_id": "7\n"},
        {"repository_owner_id": None},
    ],
)
def test_github_needs_the_immutable_ids(over: dict[str, Any]) -> None:
    refused(ACTIONS, ACTIONS.token(**over))


def test_github_names_do_not_matter() -> None:
    token = ACTIONS.ask(ACTIONS.token(sub="repo:evil/renamed:ref:refs/heads/main", repository="evil/renamed"))
    assert isinstance(token, VerifiedToken) and token.subject == "repository_id:701233"


# --- opaque tokens


@pytest.mark.parametrize(
    ("token", "word", "reason"),
    [
        ("ya29.canary0AfB_byC", "Google", Reason.TOKEN_OPAQUE),
        ("hf_oauth_canary", "hf_oauth_", Reason.HUGGINGFACE_TOKEN),
        ("hf_jwt_canary.a.b", "hf_jwt_", Reason.HUGGINGFACE_TOKEN),
        ("hf_canary", "Hugging Face token", Reason.HUGGINGFACE_TOKEN),
        ("ghs_canary", "GitHub", Reason.TOKEN_OPAQUE),
        ("sk-canary", "another model provider", Reason.TOKEN_OPAQUE),
    ],
)
def test_opaque_tokens_are_refused_by_name_and_not_echoed(token: str, word: str, reason: Reason) -> None:
    refusal = refused(GOOGLE_ID, token)
    assert refusal.reason == reason and word in refusal.sentence and "canary" not in str(refusal)


def test_every_sentence_fits_into_an_answer() -> None:
    for sentence in (
        *(text for *_, text in known._PREFIXES),
        *known._TYPES.values(),
        *known._MEMBERS.values(),
    ):
        assert sentence.isascii() and sentence.isprintable() and len(sentence) <= 190, sentence


# --- the files


def test_every_profile_of_the_format_has_a_file_and_a_page_that_says_what_it_was_tried_against() -> None:
    shipped = {file.name for file in files("meshward.oidc.profiles").iterdir() if file.name.endswith(".json")}
    assert shipped == {f"{name}.json" for name in NAMES}
    for name in NAMES:
        page = (ROOT / "docs" / "issuers" / f"{name}.md").read_text()
        for heading in ("## The policy", "## The login client", "## Claims", "## Tried against"):
            assert heading in page, (name, heading)


@pytest.mark.parametrize("name", NAMES)
def test_the_policies_of_its_page_are_policies(name: str) -> None:
    page = (ROOT / "docs" / "issuers" / f"{name}.md").read_text()
    blocks = [
        text for text in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL) if text.startswith("issuers:")
    ]
    assert blocks
    for text in blocks:
        roles = "" if "\nroles:" in text else "roles: {r: [{issuer: corp, group: g}]}\n"
        rest = """version: 1
trust_domain: td.test
models: {m: {versions: {v1: {server: tei, url: "unix:/run/m.sock"}}}}
grants: []
"""
        policy = parse([Source("page.yaml", f"{rest}{text}{roles}".encode())]).policy
        assert [issuer.profile for issuer in policy.issuers.values()] == [name]
        assert find_unenforced(requirements(policy), LOCAL) == []


@pytest.mark.parametrize("name", NAMES)
def test_a_profile_is_complete(name: str) -> None:
    profile = load_profile(name)
    assert re.fullmatch(r"as of .*20[0-9]{2}-[0-9]{2}", profile.source[-1]), "no date"
    assert profile.notes and profile.algorithms <= set(ACCEPTED)
    assert profile.audience == "aud" or profile.audience in profile.client
    for sentence in (*profile.sentences.values(), *profile.misnamed.values()):
        assert sentence.isascii() and sentence.isprintable() and len(sentence) <= 190, sentence
    assert (profile.kind == "workload") == (name in ("kubernetes", "github-actions"))


def test_a_profile_that_does_not_exist() -> None:
    for name in ("auth0", "../oidc", ""):
        with pytest.raises(MeshwardError):
            load_profile(name)
