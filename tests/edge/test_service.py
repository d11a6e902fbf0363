"""The decision service as nginx meets it: a process, a unix socket, headers in and headers out."""

from __future__ import annotations

import json
import os
import signal
import stat
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest

from meshward.edge.decision_state import load as load_state
from meshward.edge.service import MOST_CALLERS, DecisionService
from meshward.kit.boot import Moment
from meshward.kit.strict import json_object, token_hash
from meshward.kit.wellknown import WHOAMI
from meshward.oidc.jwk import parse_key_set
from meshward.oidc.kept_keys import HANDED, KeptKeys, KeptSet
from meshward.oidc.verify import split_token
from meshward.testing.waiting import eventually
from meshward.tokens.key_store import load
from tests.edge.mesh import AUDIENCE, ISSUER, LIVE, POLICY, Asker, Mesh, facts, running


class Service:
    """A running service and its mesh."""

    def __init__(self, mesh: Mesh, process: Any, asker: Asker) -> None:
        self.mesh, self.process, self.asker = mesh, process, asker

    def ask(self, token: str | None = None, **over: str | None) -> httpx2.Response:
        return self.asker.ask(token, **over)

    def token(self, *groups: str, **claims: Any) -> str:
        return self.mesh.issuer.token("alice", groups, **claims)

    def health(self) -> dict[str, Any]:
        return self.asker.get("/healthz").json()

    def reload(self) -> None:
        self.process.send_signal(signal.SIGHUP)

    def stderr(self) -> str:
        return (self.mesh.directory / "stderr").read_text()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One service for all tests that do not change it."""
    mesh = Mesh(tmp_path_factory.mktemp("decide"))
    mesh.write()
    with running(mesh.directory) as (process, asker):
        yield Service(mesh, process, asker)


@pytest.fixture
def own_service(tmp_path: Path) -> Iterator[Service]:
    mesh = Mesh(tmp_path)
    mesh.write()
    with running(tmp_path) as (process, asker):
        yield Service(mesh, process, asker)


def refusal(response: httpx2.Response) -> tuple[int, str, str]:
    """HTTP status, the client's status, and the reason."""
    message = response.headers["x-mw-message"]
    assert 0 < len(message) <= 200 and message.isascii() and not set('"\\') & set(message)
    assert "x-mw-txn-token" not in response.headers and "x-mw-route" not in response.headers
    return response.status_code, response.headers["x-mw-status"], response.headers["x-mw-reason"]


# --- permits


def test_a_permit_carries_all_that_nginx_needs(service: Service) -> None:
    token = service.token("science", azp="cli")
    response = service.ask(token)
    assert response.status_code == 200
    headers = response.headers
    assert headers["x-mw-route"] == f"{1 << 20}|90 00 v1.minilm.mesh.test|10 01 v2.minilm.mesh.test"
    assert headers["x-mw-limit"] == "600r/m"
    assert len(headers["x-mw-bucket"]) == 32
    assert headers["x-mw-ttl"] == "4"
    parts = split_token(headers["x-mw-txn-token"])
    public = load(service.mesh.directory / "keys").public_jwks()
    key = parse_key_set(json.dumps(public).encode())[json_object(parts.header)["kid"]]
    key.verify(parts.signed, parts.signature)
    claims = json_object(parts.payload)
    assert claims["iss"] == "https://models.test" and claims["aud"] == ["mesh.test", "minilm.infer"]
    assert (
        claims["sub"] == "corp:alice"
        and claims["scope"] == "minilm.infer"
        and claims["roles"] == ["scientist"]
    )
    assert claims["tctx"] == {
        "model": "minilm",
        "action": "infer",
        "grant": "science",
        "rev": "7",
    }
    assert claims["rctx"] == {"ath": token_hash(token), "cid": "cli"}
    assert facts(response) == {
        "sub": "corp:alice",
        "roles": ["scientist"],
        "model": "minilm",
        "action": "infer",
        "perm": "minilm.infer",
        "grant": "science",
        "rev": "7",
        "txn": claims["txn"],
        "tth": token_hash(headers["x-mw-txn-token"]),
        "ath": token_hash(token),
        "exp": claims["exp"],
    }


def test_the_transaction_ends_with_the_credential(service: Service) -> None:
    now = int(time.time())
    response = service.ask(service.token("science", iat=now - 10, exp=now + 4))
    assert facts(response)["exp"] == now + 4
    assert response.headers["x-mw-ttl"] in ("1", "2")


def test_by_v1_a_model_is_also_known_by_its_alias(service: Service) -> None:
    token = service.token("science")
    over = {"front": "v1", "path": "/v1/embeddings"}
    for name in ("minilm", "Org%2FMiniLM"):
        response = service.ask(token, model=name, **over)
        assert response.status_code == 200 and facts(response)["model"] == "minilm"
    assert refusal(service.ask(token, model="Org%2FMiniLM")) == (403, "404", "model_unknown")


def test_a_permit_names_what_a_body_may_call_the_model(service: Service) -> None:
    token = service.token("platform")
    assert service.ask(token).headers["x-mw-names"] == "minilm Org%2FMiniLM"
    assert "x-mw-names" not in service.ask(token, path="/unload").headers  # about the whole server
    assert "x-mw-names" not in service.ask(service.token("sales")).headers


WHO = {"front": "v1", "path": "/v1/embeddings", "model": None}


@pytest.mark.parametrize("model", [None, ""])
def test_by_v1_nginx_may_ask_first_who_it_is(service: Service, model: str | None) -> None:
    """A body is read for those alone whose credential was verified."""
    token = service.token("science")
    response = service.ask(token, **WHO | {"model": model})
    assert refusal(response) == (403, "400", "body_model_missing")
    assert response.headers["x-mw-ttl"] == "4"
    assert facts(response) == {"sub": "corp:alice", "ath": token_hash(token), "rev": "7"}


def test_who_is_asked_of_strangers_gets_what_every_stranger_gets(service: Service) -> None:
    for credential in ({}, {"token": "garbage"}, {"token": service.token("science", exp=1)}):
        asked, known = (service.ask(**credential, **WHO | {"model": name}) for name in (None, "minilm"))
        assert asked.status_code == 401 and asked.headers["x-mw-ttl"] == "0"
        assert str(asked.headers) == str(known.headers)


def test_below_a_model_there_is_no_such_question(service: Service) -> None:
    assert refusal(service.ask(service.token("science"), model=None)) == (403, "404", "model_unknown")


def test_a_grant_without_limit_sends_none(service: Service) -> None:
    assert service.ask(service.token("platform"), model="other").headers["x-mw-limit"] == ""


def test_the_first_grant_that_holds_pays(service: Service) -> None:
    assert facts(service.ask(service.token("science", "platform")))["grant"] == "science"


@pytest.mark.parametrize("scheme", ["bearer ", "BEARER ", "Bearer "])
def test_the_scheme_has_no_case(service: Service, scheme: str) -> None:
    assert service.ask(authorization=scheme + service.token("science")).status_code == 200


# --- refusals before there is an identity


def test_no_credentials(service: Service) -> None:
    response = service.ask()
    assert refusal(response) == (401, "401", "no_credentials")
    metadata = "https://models.test:8443/.well-known/oauth-protected-resource/m/minilm"
    assert response.headers["x-mw-challenge"] == f'Bearer resource_metadata="{metadata}"'
    assert response.headers["x-mw-ttl"] == "0" and response.headers["x-mw-facts"] == ""


@pytest.mark.parametrize(
    "value", ["Basic YTpi", "DPoP x.y.z", "Bearer", "xBearer a.b.c", "Basic zzz Bearer a.b.c"]
)
def test_other_schemes(service: Service, value: str) -> None:
    assert refusal(service.ask(authorization=value)) == (401, "401", "not_bearer")


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        ("hf_canary", "huggingface_token"),
        ("garbage", "token_malformed"),
        (" a.b.c", "token_malformed"),
        ("x" * 8193, "token_too_large"),
    ],
)
def test_bad_tokens(service: Service, token: str, reason: str) -> None:
    response = service.ask(token)
    assert refusal(response) == (401, "401", reason)
    assert 'error="invalid_token"' in response.headers["x-mw-challenge"]
    assert response.headers["x-mw-ttl"] == "0"
    assert "canary" not in str(response.headers)


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"iss": "https://evil.test"}, "issuer_unknown"),
        ({"aud": "other"}, "audience_refused"),
        ({"exp": 1}, "token_expired"),
        ({"sub": ""}, "subject_refused"),
        ({"cnf": {}}, "claims_refused"),
    ],
)
def test_tokens_that_do_not_hold(service: Service, claims: dict[str, Any], reason: str) -> None:
    assert refusal(service.ask(service.token("science", **claims))) == (401, "401", reason)


def test_a_forged_token(service: Service) -> None:
    forger = Mesh(service.mesh.directory)
    token = forger.issuer.token("alice", ["science"])
    assert refusal(service.ask(token)) == (401, "401", "signature_invalid")


def test_before_there_is_an_identity_nobody_learns_which_models_exist(service: Service) -> None:
    known, unknown = (service.ask("garbage", model=name).headers for name in ("minilm", "nowhere"))
    assert str(known).replace("minilm", "nowhere") == str(unknown)


# --- refusals of an identity


def test_denials(service: Service) -> None:
    response = service.ask(service.token("sales"))
    assert refusal(response) == (403, "403", "identity_without_role")
    assert "corp:alice" in response.headers["x-mw-message"]
    assert 'scope="minilm.infer"' in response.headers["x-mw-challenge"]
    assert 'error="insufficient_scope"' in response.headers["x-mw-challenge"]
    assert response.headers["x-mw-ttl"] == "4"
    assert facts(response)["sub"] == "corp:alice" and facts(response)["perm"] == "minilm.infer"
    assert refusal(service.ask(service.token("science"), path="/unload")) == (403, "403", "no_grant")
    assert refusal(service.ask(service.token("science"), model="other"))[:2] == (403, "403")


@pytest.mark.parametrize("model", ["nowhere", "MiniLM", "minilm%20", "%2e%2e", "minilm%00", "", "x" * 300])
def test_unknown_models_all_look_the_same(service: Service, model: str) -> None:
    response = service.ask(service.token("science", jti="1"), model=model)
    assert refusal(response) == (403, "404", "model_unknown")
    assert "x-mw-challenge" in response.headers and response.headers["x-mw-challenge"] == ""
    assert "nowhere" not in response.headers["x-mw-message"]


@pytest.mark.parametrize(
    "over",
    [
        {"path": "/nowhere"},
        {"path": "/embed/"},
        {"path": "/EMBED"},
        {"path": "/embed%2f"},
        {"path": "//embed"},
        {"method": "GET"},
        {"method": "post"},
    ],
)
def test_unknown_routes(service: Service, over: dict[str, str]) -> None:
    assert refusal(service.ask(service.token("platform"), **over)) == (403, "404", "route_unknown")


# --- faults


@pytest.mark.parametrize(
    "over",
    [
        {"method": None},
        {"path": None},
        {"front": None},
        {"addr": None},
        {"front": "x"},
        {"path": "embed"},
        {"path": ""},
        {"model": "%ff"},
        {"addr": "nowhere"},
        {"addr": "unix:"},
    ],
)
def test_questions_that_the_edge_never_asks(service: Service, over: dict[str, str | None]) -> None:
    response = service.ask(service.token("science"), **over)
    assert (response.status_code, response.headers["x-mw-reason"]) == (500, "faulty_question")
    assert response.headers["x-mw-ttl"] == "0"


GOOD = (
    "Authorization: Bearer {}",
    "Method: POST",
    "Model: minilm",
    "Path: /embed",
    "Front: m",
    "Addr: 192.0.2.1",
)


def raw_question(token: str, *more: str) -> bytes:
    lines = [f"X-Mw-{line}".format(token) for line in (*GOOD, *more)]
    return "\r\n".join(["GET /decide HTTP/1.1", "Host: x", *lines, "", ""]).encode("latin-1")


@pytest.mark.parametrize(
    "more", ["Authorization: Bearer x", "Model: other", "Path: /unload", "Addr: 192.0.2.1", "X: 1"]
)
def test_a_header_that_comes_twice_is_a_fault(service: Service, more: str) -> None:
    token = service.token("platform")
    assert service.asker.raw(raw_question(token)).startswith(b"HTTP/1.1 200")
    twice = service.asker.raw(raw_question(token, more, more))
    assert twice.startswith(b"HTTP/1.1 500") and b"x-mw-route" not in twice


def test_bytes_that_are_not_ascii_are_a_fault(service: Service) -> None:
    answer = service.asker.raw(raw_question("\xe9"))
    assert answer.startswith(b"HTTP/1.1 500") and b"x-mw-ttl: 0" in answer


def test_client_headers_mean_nothing(service: Service) -> None:
    response = service.asker._client.get(
        "/decide", headers={"authorization": f"Bearer {service.token('platform')}"}
    )
    assert response.status_code == 500


@pytest.mark.parametrize("path", ["/", "/decide/", "/Decide", "/metrics", "/docs", "/.well-known/x"])
def test_nothing_else_is_served(service: Service, path: str) -> None:
    assert service.asker.get(path).status_code == 404
    assert service.asker._client.post("/decide").status_code == 404


# --- metadata


@pytest.mark.parametrize("rest", ["", "/m/minilm", "/m/nowhere"])
def test_metadata_tells_whom_to_ask_and_not_what_exists(service: Service, rest: str) -> None:
    response = service.asker.get("/.well-known/oauth-protected-resource" + rest)
    assert response.json() == {
        "resource": "https://models.test:8443" + rest,
        "authorization_servers": [ISSUER],
        "bearer_methods_supported": ["header"],
    }


@pytest.mark.parametrize("rest", ["/", "/m/", "/m", "/m/A", "/m/a/b", "/x/minilm", "x", "/m/%2e%2e"])
def test_metadata_of_no_resource(service: Service, rest: str) -> None:
    assert service.asker.get("/.well-known/oauth-protected-resource" + rest).status_code == 404


# --- the process


def test_the_socket_is_for_its_group_alone(service: Service) -> None:
    mode = service.asker.socket.stat().st_mode
    assert stat.S_ISSOCK(mode) and stat.S_IMODE(mode) == 0o660
    assert [file.name for file in service.mesh.directory.iterdir() if file.name.startswith(".")] == []


def test_a_socket_that_was_left_behind_is_replaced_and_the_group_can_be_given(tmp_path: Path) -> None:
    mesh = Mesh(tmp_path)
    mesh.write()
    (tmp_path / "decide.sock").touch()
    with running(tmp_path, "--socket-gid", str(os.getegid())) as (_, asker):
        eventually(lambda: stat.S_ISSOCK(asker.socket.stat().st_mode))
        assert asker.socket.stat().st_gid == os.getegid()
        assert asker.ask(mesh.issuer.token("alice", ["science"])).status_code == 200


def test_health_names_what_decides(service: Service) -> None:
    service.ask(service.token("science"))
    health = service.health()
    assert health["revision"] == 7 and len(health["policy"]) == 64 and health["reload"] is None
    assert health["keys"]["corp"] >= 0


def test_who_asked_is_known_before_the_answer_ends(own_service: Service) -> None:
    """So that somebody can be revoked for what they are doing just now; strangers are nobody, and only so many stay."""
    names = ("ann", "ben", "ann")
    for name in names:
        own_service.ask(own_service.mesh.issuer.token(name, ["science"]))
    own_service.ask("no.token.at-all")
    assert own_service.asker.get("/callers").json() == ["corp:ann", "corp:ben"]


def test_only_so_many_callers_are_remembered() -> None:
    unasked: Any = None
    service = DecisionService(unasked, unasked, unasked)
    for number in range(MOST_CALLERS + 5):
        service._remember(f"corp:{number}")
    service._remember("corp:7")
    assert len(service._callers) == MOST_CALLERS and next(iter(service._callers)) == "corp:5"
    assert [*service._callers][-1] == "corp:7"


def test_a_reload_takes_all_or_nothing(own_service: Service) -> None:
    mesh, alice = own_service.mesh, own_service.token("science")
    assert own_service.ask(alice).status_code == 200
    (mesh.directory / "policy.json").write_text("{")
    own_service.reload()
    eventually(lambda: own_service.health()["reload"] is not None)
    assert own_service.ask(alice).status_code == 200 and own_service.health()["revision"] == 7

    mesh.write(POLICY | {"grants": POLICY["grants"][1:]}, replace(LIVE, revision=8))
    own_service.reload()
    eventually(lambda: own_service.health()["revision"] == 8)
    assert own_service.health()["reload"] is None
    assert own_service.ask(alice).status_code == 403
    assert '"reload refused"' in own_service.stderr()


@pytest.mark.parametrize(
    "live",
    [
        replace(LIVE, revision=9, audience="other.test"),
        replace(LIVE, revision=9, slots={"minilm/v1": "00"}),
    ],
)
def test_a_live_file_that_does_not_fit_the_policy_changes_nothing(own_service: Service, live: Any) -> None:
    own_service.mesh.write(live=live)
    own_service.reload()
    eventually(lambda: own_service.health()["reload"] is not None)
    assert own_service.health()["revision"] == 7
    assert own_service.ask(own_service.token("science")).status_code == 200


def test_a_limit_that_nginx_cannot_count_changes_nothing(own_service: Service) -> None:
    grant = POLICY["grants"][0] | {"limits": {"requests": "1000/day"}}
    own_service.mesh.write(POLICY | {"grants": [grant]}, replace(LIVE, revision=9))
    own_service.reload()
    eventually(lambda: own_service.health()["reload"] is not None)
    assert own_service.health()["revision"] == 7


def test_an_issuer_that_is_no_longer_trusted_is_forgotten(own_service: Service) -> None:
    alice = own_service.token("science")
    assert own_service.ask(alice).status_code == 200
    other = {"profile": "oidc", "issuer": "https://new.test", "audience": AUDIENCE}
    own_service.mesh.write(POLICY | {"issuers": {"corp": other}}, replace(LIVE, revision=8))
    own_service.reload()
    eventually(lambda: own_service.health()["revision"] == 8)
    assert refusal(own_service.ask(alice)) == (401, "401", "issuer_unknown")
    assert own_service.ask(own_service.token("science", iss="https://new.test")).status_code == 200


def test_a_reload_asked_for_before_the_service_is_up_is_kept(tmp_path: Path) -> None:
    mesh = Mesh(tmp_path)
    mesh.write()
    with running(tmp_path) as (process, asker):
        mesh.write(live=replace(LIVE, revision=8))
        process.send_signal(signal.SIGHUP)
        eventually(lambda: asker.get("/healthz").json()["revision"] == 8)


def test_a_reload_under_requests_answers_them_all(own_service: Service) -> None:
    alice = own_service.token("science")
    for revision in range(8, 28):
        own_service.mesh.write(live=replace(LIVE, revision=revision))
        own_service.reload()
        assert own_service.ask(alice).status_code == 200
    eventually(lambda: own_service.health()["revision"] == 27)


def test_it_does_not_start_on_broken_files(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="MW2031"), running(tmp_path):
        pass


def test_keys_that_cannot_be_had_are_a_fault_and_not_the_callers(tmp_path: Path) -> None:
    mesh = Mesh(tmp_path)
    mesh.write()
    (tmp_path / "jwks.json").unlink()
    with running(tmp_path) as (_, asker):
        response = asker.ask(mesh.issuer.token("alice", ["science"]))
        assert (response.status_code, response.headers["x-mw-reason"]) == (503, "issuer_keys_unavailable")
        assert response.headers["x-mw-ttl"] == "0"
        mesh.write()
        eventually(lambda: asker.ask(mesh.issuer.token("alice", ["science"])).status_code == 200)


def test_it_starts_with_the_keys_that_it_was_handed_and_only_with_whole_ones(tmp_path: Path) -> None:
    mesh = Mesh(tmp_path)
    mesh.write()
    document, alice = (tmp_path / "jwks.json").read_bytes(), mesh.issuer.token("alice", ["science"])
    kept = KeptSet.of(load_state(tmp_path).issuers[0], parse_key_set(document), Moment.now().before(100))
    (tmp_path / "jwks.json").unlink()
    HANDED.write(tmp_path, KeptKeys.of({"corp": kept}))
    with running(tmp_path) as (_, asker):
        assert asker.ask(alice).status_code == 200
    (tmp_path / HANDED.name).write_bytes((tmp_path / HANDED.name).read_bytes()[:-9])
    (tmp_path / "decide.sock").unlink(missing_ok=True)
    with running(tmp_path) as (_, asker):
        assert asker.ask(alice).status_code == 503, "half a file is none, and no reason not to start"
        mesh.write()
        eventually(lambda: asker.ask(alice).status_code == 200)


def test_without_records_there_are_no_decisions(tmp_path: Path) -> None:
    mesh, beat = Mesh(tmp_path), tmp_path / "heartbeat"
    mesh.write()
    with running(tmp_path, "--heartbeat", str(beat)) as (_, asker):
        token = mesh.issuer.token("alice", ["science"])
        response = asker.ask(token)
        assert (response.status_code, response.headers["x-mw-reason"]) == (403, "audit_blind")
        assert response.headers["x-mw-ttl"] == "0"
        beat.touch()
        assert asker.ask(token).status_code == 200
        old = time.time() - 11
        os.utime(beat, (old, old))
        assert asker.ask(token).status_code == 403


def test_no_secret_gets_into_a_log_or_an_error(own_service: Service) -> None:
    """Tokens good, bad and absurd, faults of the edge, faults of the issuer; then look for all of it."""
    token = own_service.token("science", note="claimcanary")
    sent = [
        token,
        own_service.token("science", exp=1),
        "hf_hubcanary",
        "jwt.canary.jwt",
        own_service.mesh.issuer.token("alice", header={"kid": "kidcanary"}),
    ]
    answers = [str(own_service.ask(text).headers) for text in sent]
    answers += [
        str(own_service.ask(token, **over).headers)
        for over in ({"addr": "addrcanary"}, {"front": "frontcanary"})
    ]
    answers.append(own_service.asker.raw(raw_question("\xe9rawcanary")).decode("latin-1"))
    answers.append(
        own_service.asker.raw(
            b"GET /decide HTTP/1.1\r\nX-Mw-Authorization: Bearer brokencanary\x01\r\n\r\n"
        ).decode()
    )
    signing = [file.read_text() for file in (own_service.mesh.directory / "keys").glob("*.pem")]
    written = own_service.stderr() + "".join(answers)
    assert "faulty question" in own_service.stderr()
    assert "canary" not in written
    for signature in (text.rpartition(".")[2] for text in sent if len(text) > 100):
        assert signature not in written
    for pem in signing:
        assert pem.splitlines()[1] not in written
    for line in own_service.stderr().splitlines():
        assert isinstance(json.loads(line), dict)


# --- who am I


def whoami(service: Service, token: str | None = None, **over: str | None) -> httpx2.Response:
    headers = {
        "x-mw-authorization": None if token is None else f"Bearer {token}",
        "x-mw-method": "GET",
        "x-mw-path": "/",
        "x-mw-front": "m",
        "x-mw-addr": "203.0.113.9",
        "x-mw-rid": "r1",
    } | {f"x-mw-{name}": value for name, value in over.items()}
    return service.asker._client.get(WHOAMI, headers={k: v for k, v in headers.items() if v is not None})


def test_whoami_tells_what_the_bearer_is_here(service: Service) -> None:
    response = whoami(service, service.token("science", azp="cli", sub="ann"))
    assert response.status_code == 200 and response.headers["cache-control"] == "no-store"
    told = response.json()
    assert told.pop("expires_at") > time.time()
    permission = {
        "model": "minilm",
        "action": "infer",
        "grant": "science",
        "limit": "600r/m",
        "holds_until": None,
    }
    assert told == {
        "identity": "corp:ann",
        "issuer": ISSUER,
        "subject": "ann",
        "client": "cli",
        "groups": ["science"],
        "attributes": {},
        "roles": ["scientist"],
        "permissions": [permission],
        "revision": 7,
        "revoked": False,
    }


def test_whoami_lists_exactly_what_would_be_permitted(service: Service) -> None:
    for groups in ((), ("sales",), ("science",), ("platform",), ("science", "platform")):
        token = service.token(*groups)
        told = {(p["model"], p["action"]) for p in whoami(service, token).json()["permissions"]}
        asked = {
            (model, action)
            for model in ("minilm", "other")
            for action, path in (("infer", "/embed"), ("manage", "/unload"))
            if service.ask(token, model=model, path=path).status_code == 200
        }
        assert told == asked, groups


@pytest.mark.parametrize(
    ("token", "reason"), [(None, "no_credentials"), ("hf_x", "huggingface_token"), ("x", "token_malformed")]
)
def test_whoami_is_for_nobody_without_a_token(service: Service, token: str | None, reason: str) -> None:
    response = whoami(service, token)
    assert response.status_code == 401
    assert response.json() == {
        "error": response.headers["x-error-message"], "error_type": reason, "request_id": "r1", "layer": "edge"
    }  # fmt: skip
    metadata = '"https://models.test:8443/.well-known/oauth-protected-resource"'
    assert f"resource_metadata={metadata}" in response.headers["www-authenticate"]


def test_whoami_of_a_token_that_does_not_hold(service: Service) -> None:
    for claims in ({"exp": 1}, {"aud": "other"}, {"iss": "https://evil.test"}):
        assert whoami(service, service.token("science", **claims)).status_code == 401


def test_whoami_that_the_edge_never_asks(service: Service) -> None:
    token = service.token("science")
    for over in ({"addr": None}, {"addr": "nowhere"}, {"front": "x"}):
        response = whoami(service, token, **over)
        assert response.status_code == 503 and "identity" not in response.text
    assert service.asker._client.post(WHOAMI).status_code == 404


def test_whoami_reads_no_header_of_the_clients(service: Service) -> None:
    headers = {"authorization": f"Bearer {service.token('science')}"}
    assert service.asker._client.get(WHOAMI, headers=headers).status_code == 503


def test_metadata_publishes_the_clients_for_logins(own_service: Service) -> None:
    policy = json.loads(json.dumps(POLICY))
    policy["issuers"]["corp"]["login"] = {"client": "cli-7"}
    policy["issuers"]["other"] = {"profile": "oidc", "issuer": "https://other.test", "audience": "m"}
    own_service.mesh.write(policy, replace(LIVE, revision=8))
    own_service.reload()
    eventually(lambda: own_service.health()["revision"] == 8)
    for rest in ("", "/m/minilm", "/m/nowhere"):
        metadata = own_service.asker.get("/.well-known/oauth-protected-resource" + rest).json()
        assert metadata["meshward_login"] == {ISSUER: "cli-7"}
        assert metadata["authorization_servers"] == [ISSUER, "https://other.test"]
