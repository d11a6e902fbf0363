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


# --- the names in a body

BODY = {"infer": ["POST /embed", "GET /embed", "PUT /v1/embeddings"], "manage": ["POST /unload"]}


def kinds(*versions: dict[str, Any]) -> Any:
    """A change of the mesh: a model with these versions, and an alias."""

    def change(policy: dict[str, Any]) -> None:
        policy["servers"]["odd"] = {"manage": ["POST /embed"], "infer": ["POST /odd"]}
        policy["servers"]["deaf"] = BODY | {"body_model": "ignores"}
        policy["servers"]["mine"] = BODY
        urls = ("unix:/run/a.sock", "unix:/run/b.sock")
        policy["models"]["minilm"] |= {
            "versions": {f"v{n}": {"url": urls[n - 1], **given} for n, given in enumerate(versions, 1)},
            "traffic": {"v1": 90, "v2": 10} if len(versions) > 1 else {"v1": 90},
        }

    return change


OWN = ("minilm", "Org/MiniLM")
ANY = (*OWN, "tgi", "dummy")


@pytest.mark.parametrize(
    ("given", "method", "path", "names"),
    [
        ({"server": "mine"}, "POST", "/embed", OWN),
        ({"server": "mine"}, "PUT", "/v1/embeddings", OWN),
        ({"server": "mine"}, "GET", "/embed", ()),
        ({"server": "mine"}, "POST", "/unload", ()),
        ({"server": "deaf"}, "POST", "/embed", ()),
        ({"server": "vllm"}, "POST", "/v1/chat/completions", OWN),
        ({"server": "vllm"}, "POST", "/tokenize", OWN),
        ({"server": "vllm"}, "GET", "/v1/models", ()),
        ({"server": "vllm"}, "POST", "/v1/load_lora_adapter", ()),
        ({"server": "transformers"}, "POST", "/v1/responses", OWN),
        ({"server": "tei"}, "POST", "/embed", ()),
        ({"server": "tei"}, "POST", "/v1/embeddings", ANY),
        ({"server": "tgi"}, "POST", "/v1/chat/completions", ANY),
        ({"server": "tgi", "model": "x"}, "POST", "/v1/chat/completions", ANY),
        ({"server": "tgi"}, "POST", "/generate", ()),
        ({"server": "inference-endpoint"}, "POST", "/rerank", ANY),
        ({"server": "inference-endpoint", "model": "x"}, "POST", "/rerank", ANY),
        ({"server": "vllm", "model": "x"}, "POST", "/v1/chat/completions", ANY),
    ],
)
def test_which_names_a_body_may_have(
    tmp_path: Path, given: dict[str, Any], method: str, path: str, names: tuple[str, ...]
) -> None:
    assert state_of(tmp_path, kinds(given)).served["minilm"][method, path].names == names


def test_a_name_that_means_nothing_must_mean_nothing_to_every_version(tmp_path: Path) -> None:
    both = state_of(tmp_path, kinds({"server": "tgi"}, {"server": "vllm"})).served["minilm"]
    assert both["POST", "/v1/chat/completions"].names == OWN
    assert both["POST", "/generate"].names == ()


def test_each_version_has_its_servers_own_name_where_a_body_says_one(tmp_path: Path) -> None:
    """A canary between two names: whichever answers, its server reads what it calls the model."""
    named = kinds({"server": "vllm", "model": "Qwen/Qwen3 8B"}, {"server": "vllm", "model": "lora|b"})
    served = state_of(tmp_path, named).served["minilm"]
    first, second = "90 00 v1.minilm.mesh.test", "10 01 v2.minilm.mesh.test"
    assert served["POST", "/score"].route == f"1048576|{first} Qwen%2FQwen3%208B|{second} lora%7Cb"
    assert served["GET", "/v1/models"].route == f"1048576|{first}|{second}"
    assert served["POST", "/v1/load_lora_adapter"].route == f"1048576|{first}|{second}"


def test_a_version_without_a_servers_name_has_no_fourth_word(tmp_path: Path) -> None:
    served = state_of(tmp_path, kinds({"server": "vllm"}, {"server": "vllm", "model": "b"})).served["minilm"]
    assert served["POST", "/score"].route.endswith("|90 00 v1.minilm.mesh.test|10 01 v2.minilm.mesh.test b")


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


@pytest.mark.parametrize("name", ["policy.json", "live.json", "keys/txn.json", "revocations.json"])
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
    assert answer.status == 500 and (b"x-mw-ttl", b"0") in answer.headers
    assert [line["event"] for line in logs] == ["fault"] and logs[0]["type"] == "RuntimeError"
    assert "canary" not in str(logs) + str(answer)
