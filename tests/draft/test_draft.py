"""From two URLs to a policy: what is recognised, and that whatever was typed stays data."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshward.check.checking import check
from meshward.draft import issuers, questions
from meshward.draft.issuers import Recognised, recognise
from meshward.draft.questions import Given, ask_by, ask_for_draft
from meshward.draft.servers import FoundServer, kind_of, probe
from meshward.draft.text import Draft, model_name, policy_text
from meshward.kit.errors import MeshwardError, PolicyInvalid
from meshward.kit.names import is_name
from meshward.login.wire import Wire, WireReply
from meshward.policy.parse import Source, parse
from meshward.policy.schema import Policy
from tests.e2e.test_demo import meshward
from tests.login.scripted import answer, scripted

OIDC = Recognised("https://sso.test", "oidc", (), True)
TEI = FoundServer("tei", "BAAI/bge-m3", "feature-extraction")


def draft(**changes: Any) -> Draft:
    values: dict[str, Any] = {
        "issuer": OIDC, "audience": "models", "client": "cli", "who": {"group": "science"}, "url": "unix:/run/m.sock",
        "server": TEI, "name": "bge-m3", "listen": "127.0.0.1:8443", "hostname": "localhost",
    }  # fmt: skip
    return Draft(**values | changes)


def parsed(drawn: Draft) -> Policy:
    document = parse([Source("p.yaml", policy_text(drawn).encode())])
    assert [p for p in check(document, int(time.time())) if p.severity == "error"] == []
    return document.policy


# --- issuers


@pytest.mark.parametrize(
    ("issuer", "keys", "profile"),
    [
        ("https://acme.okta.com/oauth2/default", "https://acme.okta.com/oauth2/default/v1/keys", "okta"),
        ("https://id.acme.com/oauth2/aus1", "https://id.acme.com/oauth2/aus1/v1/keys", "okta"),
        ("https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_AbC", "https://x/jwks.json", "cognito"),
        ("https://login.microsoftonline.com/8f3e9a52-1c0d-4b7e-9a3f-2d5c6b7a8e90/v2.0", "https://x/keys", "entra"),
        ("https://sts.windows.net/8f3e9a52-1c0d-4b7e-9a3f-2d5c6b7a8e90/", "https://x/keys", "entra"),
        ("https://s.test/realms/staff", "https://s.test/realms/staff/protocol/openid-connect/certs", "keycloak"),
        ("https://oidc.eks.eu-west-1.amazonaws.com/id/A1", "https://oidc.eks/id/A1/keys", "kubernetes"),
        ("https://kubernetes.default.svc.cluster.local", "https://10.0.0.1/openid/v1/jwks", "kubernetes"),
        ("https://token.actions.githubusercontent.com", "https://x/jwks", "github-actions"),
        ("https://accounts.google.com", "https://www.googleapis.com/oauth2/v3/certs", "oidc"),
        ("https://okta.com.evil.test/oauth2/default", "https://x/keys", "oidc"),
        ("https://evil.test/realms/x", "https://x/keys", "oidc"),
    ],
)  # fmt: skip
def test_which_profile(monkeypatch: pytest.MonkeyPatch, issuer: str, keys: str, profile: str) -> None:
    document = {"issuer": issuer, "jwks_uri": keys}
    monkeypatch.setattr(issuers, "document", lambda *_: WireReply(200, document))
    monkeypatch.setattr(issuers, "_allow", lambda _: ())
    assert recognise(issuer, Wire()).profile == profile


def test_oktas_org_server_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(issuers, "document", lambda *_: WireReply(200, {"issuer": "https://acme.okta.com"}))
    with pytest.raises(MeshwardError, match="for Okta alone") as caught:
        recognise("https://acme.okta.com", Wire())
    assert "https://acme.okta.com/oauth2/default" in caught.value.remedy


def test_on_this_machine_without_tls_is_allowed_and_says_so() -> None:
    with scripted() as script:
        script.answers["/.well-known/openid-configuration"] = answer(200, {"issuer": f"{script.url}/"})
        found = recognise(script.url, Wire())
        assert (found.url, found.allow) == (f"{script.url}/", ("http", "private"))
        policy = parsed(draft(issuer=found))
        assert policy.issuers["sso"].jwks.allow == ["http", "private"]
        script.answers["/.well-known/openid-configuration"] = answer(200, {"issuer": "https://other.test"})
        with pytest.raises(MeshwardError, match="another issuer"):
            recognise(script.url, Wire())


@pytest.mark.parametrize(
    ("address", "allow"), [("10.1.2.3", ("private",)), ("8.8.8.8", ()), ("fd00::1", ("private",))]
)
def test_a_private_address_is_allowed_by_name(
    monkeypatch: pytest.MonkeyPatch, address: str, allow: tuple[str, ...]
) -> None:
    found = [(0, 0, 0, "", (address, 443))]
    monkeypatch.setattr(issuers.socket, "getaddrinfo", lambda *_, **__: found)
    monkeypatch.setattr(issuers, "document", lambda *_: WireReply(200, {"issuer": "https://sso.corp"}))
    assert recognise("https://sso.corp", Wire()).allow == allow


# --- servers

EMPTY = dict.fromkeys(("/info", "/v1/models", "/version", "/health"), (404, None))


@pytest.mark.parametrize(
    ("answers", "found"),
    [
        (
            {"/info": (200, {"model_id": "BAAI/bge-m3", "model_type": {"embedding": {"pooling": "cls"}}})},
            FoundServer("tei", "BAAI/bge-m3", "feature-extraction"),
        ),
        (
            {"/info": (200, {"model_id": "x/r", "model_type": {"reranker": {}}})},
            FoundServer("tei", "x/r", "text-ranking"),
        ),
        (
            {"/info": (200, {"model_id": "Q/Q", "max_total_tokens": 4096, "router": "text-generation-router"})},
            FoundServer("tgi", "Q/Q", "text-generation"),
        ),
        (
            {"/v1/models": (200, {"data": [{"id": "Q/Q", "owned_by": "vllm"}]})},
            FoundServer("vllm", "Q/Q", "text-generation"),
        ),
        (
            {"/version": (200, {"version": "0.33.0"}), "/v1/models": (401, None)},
            FoundServer("vllm", None, "text-generation"),
        ),
        (
            {"/v1/models": (200, {"data": [{"id": "a"}, {"id": "b"}]}), "/health": (200, {"status": "ok"})},
            FoundServer("transformers", None, "text-generation"),
        ),
        ({"/health": (200, None)}, None),
        ({"/info": (200, []), "/v1/models": (200, {"data": "x"}), "/version": (200, "1")}, None),
        ({"/info": (200, {"model_type": "x"}), "/v1/models": (200, {"data": [1, {"id": 5}]})}, None),
    ],
)  # fmt: skip
def test_which_kind(answers: Any, found: FoundServer | None) -> None:
    assert kind_of(EMPTY | answers) == found


def test_a_server_that_is_asked() -> None:
    with scripted() as script:
        with pytest.raises(MeshwardError, match="no kind of server") as caught:
            probe(script.url)
        assert "--server" in caught.value.remedy and "/info 404" in caught.value.message
        info = {"model_id": "x/e", "model_type": {"embedding": {}}}
        script.answers["/info"] = answer(200, info)
        assert probe(script.url) == FoundServer("tei", "x/e", "feature-extraction")
        script.answers["/info"] = answer(302, Location="/elsewhere")
        with pytest.raises(MeshwardError, match="no kind of server"):
            probe(script.url)
        assert "/elsewhere" not in {asked.path for asked in script.asked}


@pytest.mark.parametrize(
    "url", ["unix:/nowhere/x.sock", "http://127.0.0.1:1", "unix:relative", "x", "http://169.254.169.254"]
)
def test_a_server_that_is_not_there(url: str) -> None:
    with pytest.raises(MeshwardError) as caught:
        probe(url)
    assert caught.value.code.number == "MW2121"


# --- the text


def test_the_policy_means_what_was_asked() -> None:
    policy = parsed(draft(hostname="models.example.com"))
    assert policy.issuers["sso"].login is not None and policy.issuers["sso"].login.client == "cli"
    assert policy.trust_domain == "models.example.com" and policy.models["bge-m3"].aliases == ["BAAI/bge-m3"]
    assert [grant.actions for grant in policy.grants] == [["infer", "describe"]]


@pytest.mark.parametrize(
    ("url", "profile"),
    [
        ("https://acme.okta.com/oauth2/default", "okta"),
        ("https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_AbCdEf123", "cognito"),
        ("https://login.microsoftonline.com/8f3e9a52-1c0d-4b7e-9a3f-2d5c6b7a8e90/v2.0", "entra"),
        ("https://sso.acme.com/realms/staff", "keycloak"),
        ("https://oidc.eks.eu-west-1.amazonaws.com/id/A1", "kubernetes"),
        ("https://token.actions.githubusercontent.com", "github-actions"),
    ],
)
def test_every_profile_gets_what_it_needs(url: str, profile: Any) -> None:
    issuer = Recognised(url, profile, (), True)
    audience = None if profile == "cognito" else "models"
    for who in ({"group": "g"}, {"subject": "00u1"}, {"claims": {"repository_id": "7"}}):
        (found,) = parsed(draft(issuer=issuer, audience=audience, who=who)).issuers.values()
        assert found.profile == profile


NASTY = st.text(max_size=60) | st.sampled_from(
    [
        '"',
        "'",
        "}",
        "{x: 1}",
        "a: b",
        "# no",
        "\\",
        "\\u0041",
        "!!python/object",
        "&a",
        "*a",
        "- x",
        "yes",
        "1",
        "null",
        "a\nb",
    ]
)


@given(NASTY, NASTY, NASTY, NASTY)
def test_what_was_typed_stays_one_text_or_is_refused(
    audience: str, client: str, group: str, model: str
) -> None:
    """Never a key, a comment or a second value."""
    drawn = draft(
        audience=audience, client=client, who={"group": group}, server=FoundServer("tei", model, None)
    )
    try:
        policy = parse([Source("p.yaml", policy_text(drawn).encode("utf-8", "surrogatepass"))]).policy
    except (PolicyInvalid, UnicodeDecodeError):
        return
    issuer = policy.issuers["sso"]
    assert (issuer.audience, issuer.login and issuer.login.client) == (audience, client)
    assert policy.roles["user"][0].group == group and len(policy.grants) == 1
    assert policy.models["bge-m3"].aliases == ([model] if model and model != "bge-m3" else [])


@given(st.none() | st.text(max_size=100))
def test_every_model_gets_a_name(model: str | None) -> None:
    assert is_name(model_name(model))


def test_names_of_models() -> None:
    assert model_name("sentence-transformers/all-MiniLM-L6-v2") == "all-minilm-l6-v2"
    assert model_name("/models/Qwen3 8B") == "qwen3-8b" and model_name(None) == "model"


# --- the questions


def given(**flags: str) -> Given:
    values = dict.fromkeys(Given.__slots__, None) | {"listen": "127.0.0.1:1", "hostname": "localhost"} | flags
    return Given(**values)  # type: ignore[arg-type]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Answers line by line, as a person would; what was asked is kept."""
    monkeypatch.setattr(questions, "probe", lambda _: TEI)

    def draw(found: Recognised, /, *answers: str, **flags: str) -> tuple[Draft, list[str]]:
        monkeypatch.setattr(questions, "recognise", lambda *_: found)
        prompts: list[str] = []
        left = iter(answers)
        ask = ask_by(prompts.append, lambda: next(left, ""))
        return ask_for_draft(given(**flags), ask, lambda _: None), prompts

    return draw


def test_what_is_not_given_is_asked_until_it_is_answered(asked: Any) -> None:
    drawn_, prompts = asked(OIDC, "u\n", "unix:/m\n", "\n", "\n", "aud\n", "science\n", "\n")
    assert (drawn_.client, drawn_.audience, drawn_.who, drawn_.name) == (
        None,
        "aud",
        {"group": "science"},
        "bge-m3",
    )
    assert [prompt.partition(" ")[0] for prompt in prompts] == [
        "The",
        "The",
        "The",
        "The",
        "The",
        "A",
        "What",
    ]
    with pytest.raises(MeshwardError, match="no answer") as caught:
        asked(OIDC)
    assert caught.value.code.number == "MW2122" and "--issuer" in caught.value.remedy


@pytest.mark.parametrize(
    ("profile", "url", "audience"),
    [("okta", "https://a.okta.com/oauth2/default", "api://default"), ("entra", "https://e", "cli"),
     ("oidc", "https://accounts.google.com", "cli"), ("github-actions", "https://g", "https://localhost")],
)  # fmt: skip
def test_the_usual_audience(asked: Any, profile: Any, url: str, audience: str) -> None:
    issuer = Recognised(url, profile, (), True)
    drawn_, _ = asked(issuer, "\n", "\n", issuer="x", model_url="y", client="cli", group="g")
    assert drawn_.audience == audience


def test_who_may_be_told_in_other_ways_than_by_group(asked: Any) -> None:
    base = {"issuer": "x", "model_url": "y", "client": "c", "audience": "a", "name": "n"}
    assert asked(OIDC, claim="repository_id=7", **base)[0].who == {"claims": {"repository_id": "7"}}
    assert asked(OIDC, subject="00u1", group="g", **base)[0].who == {"subject": "00u1", "group": "g"}
    for wrong in ({"claim": "x"}, {"claim": "=1"}, {"server": "nonsense"}, {"name": "No Name"}):
        with pytest.raises(MeshwardError) as caught:
            asked(OIDC, **base | {"group": "g"} | wrong)
        assert caught.value.code.number == "MW2122"


# --- the command


def test_init_writes_what_check_accepts(tmp_path: Path) -> None:
    with scripted() as script:
        script.discovery()
        script.answers["/info"] = answer(200, {"model_id": "x/Emb-1", "model_type": {"embedding": {}}})
        out = tmp_path / "p.yaml"
        flags = ("init", "--issuer", script.url, "--model-url", script.url, "--out", str(out))
        missing = meshward(*flags)
        assert missing.returncode == 2 and "--audience" in missing.stderr and not out.exists(), missing
        answers = ("--audience", "m", "--group", "g", "--client", "cli")
        done = meshward(*flags, *answers)
        assert (
            done.returncode == 0 and f"meshward up {out}" in done.stdout and "meshward login" in done.stdout
        )
        assert meshward("check", str(out)).returncode == 0
        before = out.read_text()
        again = meshward(*flags, "--audience", "other", "--group", "g")
        assert again.returncode == 2 and "--force" in again.stderr and out.read_text() == before
        forced = meshward(*flags, *answers, "--name", "other", "--force", "--json")
        assert json.loads(forced.stdout)["model"] == "other" and "other:" in out.read_text()
        bad = meshward(*flags, *answers, "--listen", "nowhere", "--force")
        assert bad.returncode == 2 and "nowhere" not in out.read_text(), bad
