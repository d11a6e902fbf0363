"""What a real sidecar answers under what we render: one permission, one caller, one method, one exact path."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from meshward.spiffe.certificates import LeafCredential
from meshward.tokens.keys import make_key
from tests.mesh.lab import Answer, Call, Lab
from tests.mesh.lab.svids import make_authority
from tests.mesh.rendered import Mesh, placed
from tests.mesh.tokens import Mint, signed, signed_otherwise, unsigned

POLICY = {
    "version": 1,
    "trust_domain": "cluster.local",
    "edge": {"listen": "127.0.0.1:9443", "hostname": "models.test"},
    "issuers": {"x": {"profile": "oidc", "issuer": "https://x.test", "audience": "a", "groups": "/g"}},
    "roles": {"r": [{"issuer": "x", "group": "g"}], "s": [{"issuer": "x", "group": "h"}]},
    "models": {
        "chat": {"versions": {"v1": {"server": "vllm", "url": "unix:/run/chat.sock"}}},
        "embed": {"versions": {"v1": {"server": "tei", "url": "unix:/run/embed.sock"}}},
    },
    "grants": [
        {"id": "g", "roles": ["r"], "models": "all", "actions": ["infer"]},
        {"id": "d", "roles": ["s"], "models": ["chat"], "actions": ["describe"]},
    ],
}
PATH = "/v1/chat/completions"
INFER = "chat.infer"


@pytest.fixture(scope="module")
def mesh(whole_lab: Lab) -> Iterator[Mesh]:
    mesh = Mesh.of(whole_lab, placed(POLICY))
    mesh.start()
    yield mesh
    whole_lab.reset()


@dataclass(frozen=True)
class Case:
    """`token`: of the edge's mint. `reason`: how the sidecar's own reason for a refusal begins."""

    name: str
    expected: int | None
    reason: str = ""
    token: Callable[[Mint], str | None] = lambda mint: mint.token(INFER)
    method: str = "POST"
    path: str = PATH
    headers: tuple[tuple[str, str], ...] = ()


def altered(**claims: Any) -> Callable[[Mint], str]:
    return lambda mint: mint.altered(INFER, **claims)


def by_another(algorithm: str) -> Callable[[Mint], str]:
    return lambda mint: signed_otherwise(mint.claims(INFER), algorithm, mint.key.kid)


def now() -> int:
    return int(time.time())


NONE = "rbac_access_denied_matched_policy[none]"
JWT = "jwt_authn_access_denied"
TOKENS = [
    Case("a good token", 200, "via_upstream"),
    Case("signed by the key that comes next", 200, "via_upstream", lambda mint: mint.token(INFER, mint.following)),
    Case("no token", 403, NONE, lambda _: None),
    Case("another permission of this model", 403, NONE, lambda mint: mint.token("chat.manage")),
    Case("a permission on another model", 403, NONE, lambda mint: mint.token("embed.infer")),
    Case("no permission among its audiences", 403, NONE, altered(aud=["cluster.local"])),
    Case("the permission in scope alone", 403, NONE, altered(aud=["cluster.local", "chat.describe"], scope=INFER)),
    Case("a part of the permission's name", 403, NONE, altered(aud=["cluster.local", "chat.infe"])),
    Case("another trust domain", 403, f"{JWT}{{Audiences_in_Jwt_are_not_allowed}}", altered(aud=["other", INFER])),
    Case("no audience", 403, f"{JWT}{{Audiences_in_Jwt_are_not_allowed}}", altered(aud=None)),
    Case("no subject", 403, NONE, altered(sub=None)),
    Case("expired two minutes ago", 401, f"{JWT}{{Jwt_is_expired}}", altered(exp=now() - 120)),
    Case("not yet", 401, f"{JWT}{{Jwt_not_yet_valid}}", altered(nbf=now() + 600)),
    Case("another issuer", 401, f"{JWT}{{Jwt_issuer_is_not_configured}}", altered(iss="https://other.test")),
    Case("no issuer", 401, JWT, altered(iss=None)),
    Case("a key of nobody under our key's name", 401, f"{JWT}{{Jwt_verification_fails}}",
         lambda mint: signed(mint.claims(INFER), make_key(), kid=mint.key.kid)),
    Case("a key of nobody", 401, JWT, lambda mint: signed(mint.claims(INFER), make_key())),
    Case("no signature", 401, JWT, lambda mint: unsigned(mint.claims(INFER))),
    Case("RS256 under our key's name", 401, JWT, by_another("RS256")),
    Case("ES384 under our key's name", 401, JWT, by_another("ES384")),
    Case("its last letter is another", 401, JWT, lambda mint: _spoiled(mint.token(INFER))),
    Case("no token at all", 401, JWT, lambda _: "abc"),
]  # fmt: skip


@pytest.mark.parametrize("case", TOKENS, ids=lambda case: case.name)
def test_a_token(mesh: Mesh, case: Case) -> None:
    _ask(mesh, case)


PATHS = [
    Case("a query", 200, path=f"{PATH}?a=b"),
    Case("dots that lead back to it", 200, path="/v1/x/../chat/completions"),
    Case("a letter that is encoded", 200, path="/v1/%63hat/completions"),
    Case("another method", 403, NONE, method="GET"),
    Case("another method that a header would make this one", 403, NONE, method="GET",
         headers=(("x-http-method-override", "POST"),)),
    Case("DELETE", 403, NONE, method="DELETE"),
    Case("a slash behind it", 403, NONE, path=f"{PATH}/"),
    Case("two slashes before it", 403, NONE, path=f"/{PATH}"),
    Case("two slashes in it", 403, NONE, path="/v1//chat/completions"),
    Case("another case", 403, NONE, path="/V1/chat/completions"),
    Case("an encoded slash", 403, NONE, path="/v1%2fchat/completions"),
    Case("an encoded slash, in capitals", 403, NONE, path="/v1%2Fchat/completions"),
    Case("an encoded backslash", 403, NONE, path="/v1%5cchat/completions"),
    Case("encoded twice", 403, NONE, path="/v1/%2563hat/completions"),
    Case("a parameter", 403, NONE, path=f"{PATH};x"),
    Case("a NUL", 400, path=f"{PATH}%00"),
    Case("a fragment", 400, path=f"{PATH}#f"),
    Case("a route of another permission", 403, NONE, path="/v1/models", method="GET"),
    Case("a route that only `manage` has", 403, NONE, path="/load_lora_adapter"),
    Case("a route of nobody", 403, NONE, path="/metrics;x"),
    Case("the root", 403, NONE, path="/"),
    Case("a token for what it does not ask", 403, NONE, lambda mint: mint.token("chat.describe")),
    Case("what somebody else may ask", 200, token=lambda mint: mint.token("chat.describe"), method="GET",
         path="/v1/models"),
    Case("the token elsewhere", 403, NONE, lambda _: None, headers=(("authorization", "Bearer x.y.z"),)),
    Case("two tokens, the other one bad", 401, JWT, headers=(("txn-token", "abc"),)),
    Case("a client certificate in a header", 200, headers=(("x-forwarded-client-cert", "URI=spiffe://evil"),)),
]  # fmt: skip


@pytest.mark.parametrize("case", PATHS, ids=lambda case: case.name)
def test_a_request(mesh: Mesh, case: Case) -> None:
    _ask(mesh, case)


def test_who_is_not_the_edge_has_no_use_for_its_token(mesh: Mesh) -> None:
    """The same token, the same route: by other workloads, by one with the edge's name elsewhere, and by the model."""
    token = mesh.mint.token(INFER)
    for namespace, account in (
        ("edge", "other"),
        ("other", "nginx"),
        ("models", "chat-v1"),
        ("jobs", "scorer"),
    ):
        answer = mesh.ask("chat", "v1", Call("POST", PATH, token), client=mesh.lab.svid(namespace, account))
        assert (answer.status, answer.details) == (403, NONE), (namespace, account)
    assert mesh.lab.backend(mesh.workloads["chat", "v1"]).taken() == []


def test_who_has_no_certificate_of_the_mesh_is_not_heard(mesh: Mesh) -> None:
    token = mesh.mint.token(INFER)
    stranger = make_authority("cluster.local")
    foreign = make_authority("foreign.test")
    both = [mesh.lab.svid("edge", "nginx", authority) for authority in (stranger, foreign)]
    for client in (None, *both):
        assert _direct(mesh, client, token).status is None
    assert mesh.ask("chat", "v1", Call("POST", PATH, token), plain=True).status is None
    assert mesh.lab.backend(mesh.workloads["chat", "v1"]).taken() == []


def _direct(mesh: Mesh, client: LeafCredential | None, token: str) -> Answer:
    return mesh.lab.request(client, mesh.sidecar("chat", "v1"), Call("POST", PATH, token))


def _ask(mesh: Mesh, case: Case) -> None:
    """The model hears of it exactly where it is permitted."""
    model = mesh.lab.backend(mesh.workloads["chat", "v1"])
    model.taken()
    call = Call(case.method, case.path, case.token(mesh.mint), case.headers)
    answer = mesh.ask("chat", "v1", call)
    assert answer.status == case.expected, answer
    assert answer.details.startswith(case.reason), answer
    assert bool(model.taken()) is (case.expected == 200)


def _spoiled(token: str) -> str:
    return token[:-6] + ("AAAAAA" if token[-6:] != "AAAAAA" else "BBBBBB")
