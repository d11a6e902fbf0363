"""What is read from the directory, and what identities become of tokens."""

from __future__ import annotations

import asyncio
import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from meshward.callers.issuers import identity_of, trusted_issuer
from meshward.edge.decision_state import DecisionState, load
from meshward.edge.heartbeat import Heartbeat
from meshward.edge.service import DecisionService
from meshward.kit.errors import MeshwardError
from meshward.kit.secret import Secret
from meshward.oidc import verify
from meshward.oidc.verify import VerifiedToken
from meshward.plan.ir import Issuer
from tests.edge.mesh import AUDIENCE, ISSUER, POLICY, Mesh


def state_of(directory: Path, change: Any = None) -> DecisionState:
    policy = copy.deepcopy(POLICY)
    if change is not None:
        change(policy)
    Mesh(directory).write(policy)
    return load(directory)


# --- routes


def test_each_route_goes_to_the_versions_for_which_it_means_the_same(tmp_path: Path) -> None:
    """A request that was decided as `infer` must not reach a version for which it is `manage`."""

    def change(policy: dict[str, Any]) -> None:
        policy["servers"]["odd"] = {"manage": ["POST /embed"], "infer": ["POST /odd"]}
        policy["models"]["minilm"]["versions"]["v2"]["server"] = "odd"

    served = state_of(tmp_path, change).served["minilm"]
    assert served["POST", "/embed"].action == "infer"
    assert served["POST", "/embed"].route == "1048576|90 00 v1.minilm.mesh.test"
    assert served["POST", "/odd"].route == "1048576|10 01 v2.minilm.mesh.test"


def test_a_version_without_traffic_serves_nothing(tmp_path: Path) -> None:
    def change(policy: dict[str, Any]) -> None:
        policy["servers"]["odd"] = {"infer": ["POST /odd"]}
        policy["models"]["minilm"]["versions"]["v3"]["server"] = "odd"

    assert ("POST", "/odd") not in state_of(tmp_path, change).served["minilm"]


# --- what cannot be used


def test_two_issuers_with_one_url_are_refused(tmp_path: Path) -> None:
    def change(policy: dict[str, Any]) -> None:
        policy["issuers"]["twin"] = {"profile": "oidc", "issuer": ISSUER, "audience": AUDIENCE}

    with pytest.raises(MeshwardError, match="two issuers"):
        state_of(tmp_path, change)


def test_a_profile_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    issuer = state_of(tmp_path).plan.issuers["corp"]
    with pytest.raises(MeshwardError) as refusal:
        trusted_issuer(replace(issuer, profile="auth0"))  # type: ignore[arg-type]
    assert refusal.value.code.number == "MW2001"


@pytest.mark.parametrize("name", ["policy.json", "live.json", "keys/txn.json"])
@pytest.mark.parametrize("content", [None, "", "{}", "\0", "[" * 5000])
def test_each_file_is_needed_and_checked(tmp_path: Path, name: str, content: str | None) -> None:
    state_of(tmp_path)
    (tmp_path / name).unlink() if content is None else (tmp_path / name).write_text(content)
    with pytest.raises(MeshwardError):
        load(tmp_path)


# --- identities

TERMS = Issuer(
    name="corp",
    profile="oidc",
    url=ISSUER,
    audiences=("a",),
    clients=("c",),
    groups=None,
    attributes={},
    jwks_url=None,
    jwks_file=None,
    max_stale=60,
    allow=frozenset({"http"}),
    login_client=None,
)


def token(**claims: Any) -> VerifiedToken:
    return VerifiedToken(
        issuer="corp",
        subject="alice",
        client=None,
        claims=claims,
        issued_at=1000,
        expires_at=2000,
        ath="",
        seal=verify._SEAL,
    )


@pytest.mark.parametrize(
    ("claims", "groups"),
    [
        ({"groups": ["a", "b"]}, ("a", "b")),
        ({"groups": ["a", 1, None, ["b"], {"c": 1}]}, ("a",)),
        ({"groups": "a"}, ("a",)),
        ({"groups": {"a": 1}}, ()),
        ({"groups": None}, ()),
        ({"roles": ["a"]}, ()),
        ({}, ()),
    ],
)
def test_groups(claims: dict[str, Any], groups: tuple[str, ...]) -> None:
    assert identity_of(token(**claims), TERMS).groups == groups


def test_groups_where_the_policy_says() -> None:
    nested = token(realm_access={"roles": ["a"]}, groups=["b"])
    assert identity_of(nested, replace(TERMS, groups="/realm_access/roles")).groups == ("a",)


def test_attributes_are_texts_from_the_claims_or_constants() -> None:
    terms = replace(
        TERMS, attributes={"tenant": "/org", "level": "/level", "site": "berlin", "none": "/none"}
    )
    found = identity_of(token(org="acme", level=3), terms)
    assert found.attributes == {"tenant": "acme", "site": "berlin"}
    assert found.name == "corp:alice"


@pytest.mark.parametrize(
    ("value", "known"), [(900, 900), (1005, 1005), (1006, None), (True, None), ("900", None), (9.0, None)]
)
def test_the_time_of_login_must_be_a_time_that_can_be_true(value: Any, known: int | None) -> None:
    assert identity_of(token(auth_time=value), TERMS).authenticated_at == known
    assert identity_of(token(), TERMS).authenticated_at is None


def test_an_issuer_becomes_what_the_verifier_needs() -> None:
    issuer = trusted_issuer(TERMS)
    assert (issuer.name, issuer.url) == ("corp", ISSUER)
    assert issuer.audiences == {"a"} and issuer.clients == {"c"}
    assert issuer.keys.max_stale == 60 and issuer.keys.allow == {"http"}


# --- exceptions


class BrokenTrust:
    """A verifier that fails with the token in its hands."""

    expected = ""

    @property
    def verifier(self) -> BrokenTrust:
        return self

    async def verify(self, bearer: Secret) -> VerifiedToken:
        raise RuntimeError(bearer.reveal())


QUESTION = {
    "authorization": "Bearer canary",
    "method": "POST",
    "model": "minilm",
    "path": "/embed",
    "front": "m",
    "addr": "::1",
}


def test_an_exception_is_a_500_and_its_text_is_not_logged(tmp_path: Path) -> None:
    service = DecisionService(state_of(tmp_path), BrokenTrust(), Heartbeat(None))  # type: ignore[arg-type]
    headers = [(f"x-mw-{name}".encode(), value.encode()) for name, value in QUESTION.items()]
    with capture_logs() as logs:
        answer = asyncio.run(service.answer(headers))
    assert answer.status == 500 and (b"x-accel-expires", b"0") in answer.headers
    assert [line["event"] for line in logs] == ["fault"] and logs[0]["type"] == "RuntimeError"
    assert "canary" not in str(logs) + str(answer)
