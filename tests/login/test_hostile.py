"""Issuers, edges and neighbours that do not play by the rules: what a login makes of each, and what it never does."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest

from meshward.kit.bounded import LONGEST_DOCUMENT
from meshward.kit.errors import MeshwardError
from meshward.kit.secret import Secret
from meshward.kit.strict import encode
from meshward.login.edge import Place, choose, login_clients, origin
from meshward.login.provider import discover
from meshward.login.session import forget, fresh_login, sign_in, who_am_i
from meshward.login.store import LoginStore, SavedLogin
from meshward.login.target import LoginTarget, target_of
from meshward.login.wire import Wire, WireReply, check_url
from tests.login.conftest import Screen
from tests.login.scripted import Answer, Asked, Scripted, answer, scripted

CODE = {"device_code": "dev", "user_code": "ABCD-EFGH", "expires_in": 60, "interval": 5}
CANARY = "canary-9f2b"


@pytest.fixture
def issuer() -> Iterator[Scripted]:
    with scripted() as script:
        script.discovery()
        page = f"{script.url}/device"
        script.answers["/device_authorization"] = answer(200, {**CODE, "verification_uri": page})
        yield script


def jwt(**claims: Any) -> str:
    parts = ({"alg": "ES256", "typ": "JWT"}, {"exp": int(time.time()) + 300, **claims})
    return ".".join([*(encode(json.dumps(part).encode()) for part in parts), "c2ln"])


def tokens(**more: Any) -> dict[str, Any]:
    return {"access_token": jwt(sub="x"), "token_type": "Bearer", "expires_in": 300, **more}


def by_device(issuer: Scripted, screen: Screen | None = None, **options: Any) -> SavedLogin:
    target = LoginTarget("https://edge.test", None, issuer.url, "cli")
    return sign_in(target, None, None, (screen or Screen()).terminal(**options))


def refusal(code: str, call: Callable[[], object]) -> str:
    """What `call` is refused with; it must be one clean line."""
    with pytest.raises(MeshwardError) as caught:
        call()
    assert caught.value.code.number == code, caught.value.message
    assert caught.value.message.isprintable() and CANARY not in caught.value.message + caught.value.remedy
    return caught.value.message


# --- where may be asked


@pytest.mark.parametrize(
    "url",
    [
        "http://sso.example.com", "http://10.0.0.1/", "http://127.0.0.1.example.com/", "ftp://127.0.0.1/",
        "https://", "javascript:alert(1)", "https://user:pw@sso.example.com/", "https://a/#b", "sso", "http://0.0.0.0/",
        "file:///etc/passwd", "http://[::ffff:10.0.0.1]/",
    ],
)  # fmt: skip
def test_only_https_or_this_machine_is_asked(url: str) -> None:
    refusal("MW2101", lambda: check_url(url))


@pytest.mark.parametrize(
    "url", ["https://sso.example.com/realm", "http://127.0.0.1:1/", "http://[::1]:1/", "http://localhost/"]
)
def test_these_are_asked(url: str) -> None:
    check_url(url)


def test_a_redirect_is_not_followed(issuer: Scripted) -> None:
    with scripted() as other:
        issuer.answers["/.well-known/openid-configuration"] = answer(302, Location=f"{other.url}/x")
        assert "302" in refusal("MW2106", lambda: discover(issuer.url, Wire()))
        issuer.discovery()
        issuer.answers["/token"] = answer(307, Location=f"{other.url}/token")
        refusal("MW2107", lambda: by_device(issuer))
        assert other.asked == []


def test_a_document_that_never_ends(issuer: Scripted) -> None:
    issuer.answers["/.well-known/openid-configuration"] = answer(200, b" " * (LONGEST_DOCUMENT + 1))
    assert "too long" in refusal("MW2102", lambda: discover(issuer.url, Wire()))


@pytest.mark.parametrize("body", [b"[]", b"<html>", b'{"issuer":1,"issuer":2}', b"\xff", b"null", b'"x"'])
def test_a_document_that_is_no_strict_object(issuer: Scripted, body: bytes) -> None:
    issuer.answers["/.well-known/openid-configuration"] = answer(200, body)
    refusal("MW2102", lambda: discover(issuer.url, Wire()))


def test_the_environments_proxy_gets_nothing_that_is_for_this_machine(
    issuer: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    with scripted() as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        discover(issuer.url, Wire())
        assert proxy.asked == []


# --- what an issuer says of itself


@pytest.mark.parametrize(
    "changes",
    [
        {"issuer": "https://other.test"},
        {"issuer": None},
        {"token_endpoint": None},
        {"token_endpoint": 5},
    ],
)
def test_discovery_that_cannot_be_used(issuer: Scripted, changes: dict[str, Any]) -> None:
    issuer.discovery(**changes)
    refusal("MW2106", lambda: discover(issuer.url, Wire()))


@pytest.mark.parametrize("where", ["http://sso.example.com/token", "file:///x", "https://u@x/"])
def test_endpoints_that_are_no_place_for_a_token(issuer: Scripted, where: str) -> None:
    issuer.discovery(token_endpoint=where)
    refusal("MW2101", lambda: discover(issuer.url, Wire()))


def test_an_issuer_that_adds_a_slash_is_another(issuer: Scripted) -> None:
    issuer.discovery(issuer=f"{issuer.url}/")
    assert "to the last `/`" in refusal("MW2106", lambda: discover(issuer.url, Wire()))


# --- the device flow


def scenario(issuer: Scripted, *steps: Answer) -> None:
    left = list(steps)
    issuer.answers["/token"] = lambda _: left.pop(0)


PENDING = answer(400, {"error": "authorization_pending"})
SLOWER = answer(400, {"error": "slow_down"})


def test_slow_down_is_heeded_for_good(issuer: Scripted) -> None:
    screen = Screen()
    scenario(issuer, PENDING, SLOWER, PENDING, answer(200, tokens()))
    by_device(issuer, screen)
    assert screen.pauses == [5, 5, 10, 10]


def test_an_issuer_that_is_away_for_a_moment_is_asked_less_often(issuer: Scripted) -> None:
    screen = Screen()
    scenario(issuer, answer(502, b"<html>bad gateway"), answer(200, tokens()))
    by_device(issuer, screen)
    assert screen.pauses == [5, 10]


def test_a_code_is_not_waited_for_longer_than_it_lives(issuer: Scripted) -> None:
    screen = Screen()
    issuer.answers["/token"] = PENDING
    assert "the time to sign in is over" in refusal("MW2108", lambda: by_device(issuer, screen))
    assert sum(screen.pauses) <= 60


@pytest.mark.parametrize("lasts", [0, -5, "soon", 10**9, None, 1.5, True])
def test_a_life_or_interval_that_makes_no_sense(issuer: Scripted, lasts: Any) -> None:
    document = {**CODE, "verification_uri": f"{issuer.url}/device", "expires_in": lasts, "interval": lasts}
    issuer.answers["/device_authorization"] = answer(200, document)
    issuer.answers["/token"] = PENDING
    screen = Screen()
    refusal("MW2108", lambda: by_device(issuer, screen))
    assert sum(screen.pauses) <= 1800 and len(screen.pauses) <= 360


@pytest.mark.parametrize("error", ["expired_token", "access_denied"])
def test_the_end_of_a_code(issuer: Scripted, error: str) -> None:
    scenario(issuer, answer(400, {"error": error}))
    refusal("MW2108", lambda: by_device(issuer))


@pytest.mark.parametrize(
    "page", ["javascript:alert(1)", "file:///etc/passwd", "http://evil.test/x", "--help"]
)
def test_a_page_that_is_none_is_never_opened(issuer: Scripted, page: str) -> None:
    for name in ("verification_uri", "verification_uri_complete"):
        document = {**CODE, "verification_uri": f"{issuer.url}/device", name: page}
        issuer.answers["/device_authorization"] = answer(200, document)
        opened: list[str] = []
        refusal("MW2101", lambda: by_device(issuer, browse=lambda url: bool(opened.append(url))))  # noqa: B023
        assert opened == []


def test_what_an_issuer_says_cannot_write_over_the_terminal(issuer: Scripted) -> None:
    issuer.answers["/device_authorization"] = answer(
        400, {"error": "x\x1b[2J\n\u202e", "error_description": "y" * 9999}
    )
    assert len(refusal("MW2107", lambda: by_device(issuer))) < 400
    document = {**CODE, "verification_uri": f"{issuer.url}/device", "user_code": "A\x1b[31mB"}
    issuer.answers["/device_authorization"] = answer(200, document)
    screen = Screen()
    scenario(issuer, answer(200, tokens()))
    by_device(issuer, screen)
    assert all(line.isprintable() for line in screen.lines)


@pytest.mark.parametrize(
    "changes",
    [
        {"token_type": "DPoP"}, {"token_type": None}, {"access_token": ""}, {"access_token": 5},
        {"access_token": f"a\r\nX-Evil: {CANARY}"}, {"access_token": "a b"}, {"access_token": "é"},
        {"access_token": "opaque"}, {"access_token": jwt(exp=None), "expires_in": None},
        {"id_token": "not.a.jwt"}, {"id_token": jwt(iss="https://other.test", aud="cli")},
    ],
)  # fmt: skip
def test_tokens_that_cannot_be_used(issuer: Scripted, changes: dict[str, Any]) -> None:
    scenario(issuer, answer(200, tokens(**changes)))
    refusal("MW2107", lambda: by_device(issuer))


@pytest.mark.parametrize("aud", ["other", ["a", "b"], None])
def test_an_id_token_for_another_client(issuer: Scripted, aud: Any) -> None:
    scenario(issuer, answer(200, tokens(id_token=jwt(iss=issuer.url, aud=aud))))
    refusal("MW2107", lambda: by_device(issuer))


# --- the authorization code


class Browser:
    """Gets the sign-in URL, and plays issuer and neighbours at the redirect."""

    def __init__(self, play: Callable[[dict[str, str], str], object]) -> None:
        self._play = play

    def __call__(self, line: str) -> None:
        if "/authorize?" in line:
            asked = {name: values[0] for name, values in parse_qs(urlsplit(line).query).items()}
            self._play(asked, asked["redirect_uri"])


def knock(url: str, host: str | None = None, **query: str) -> httpx2.Response:
    return httpx2.get(
        url, params=query, headers={"Host": host} if host else None, trust_env=False, timeout=60
    )


@pytest.fixture
def code_issuer(issuer: Scripted) -> Scripted:
    issuer.discovery(device_authorization_endpoint=None)

    def redeem(_: Asked) -> Answer:
        return answer(200, tokens(id_token=jwt(iss=issuer.url, aud="cli", nonce=issuer.answers["nonce"])))  # type: ignore[arg-type]

    issuer.answers["/token"] = redeem
    return issuer


def test_the_question_and_the_exchange(code_issuer: Scripted) -> None:
    seen: dict[str, str] = {}

    def play(asked: dict[str, str], back: str) -> None:
        seen.update(asked)
        code_issuer.answers["nonce"] = asked["nonce"]  # type: ignore[assignment]
        page = knock(back, state=asked["state"], code=CANARY, iss=code_issuer.url)
        assert page.status_code == 200 and CANARY not in page.text
        assert (
            page.headers["referrer-policy"] == "no-referrer"
            and "default-src 'none'" in page.headers["content-security-policy"]
        )

    screen = Screen(Browser(play))
    by_device(code_issuer, screen)
    assert screen.failures == []
    assert seen["response_type"] == "code" and seen["code_challenge_method"] == "S256"
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/callback", seen["redirect_uri"])
    (exchange,) = code_issuer.posts("/token")
    assert encode(hashlib.sha256(exchange["code_verifier"].encode()).digest()) == seen["code_challenge"]
    assert exchange["code"] == CANARY and exchange["redirect_uri"] == seen["redirect_uri"]
    assert (
        len(exchange["code_verifier"]) >= 43
        and len({seen["state"], seen["nonce"], exchange["code_verifier"]}) == 3
    )


def test_whoever_else_knocks_changes_nothing(code_issuer: Scripted) -> None:
    """Without our state, or by a name that only resolves to this machine: sent away, and still waited."""

    def play(asked: dict[str, str], back: str) -> None:
        code_issuer.answers["nonce"] = asked["nonce"]  # type: ignore[assignment]
        state = asked["state"]
        for stranger in (
            knock(back, state="guess", code="evil"),
            knock(back, code="evil"),
            knock(back, error="access_denied"),
            knock(back, host="evil.test", state=state, code="evil"),
            knock(back.replace("/callback", "/other"), state=state, code="evil"),
            httpx2.post(back, params={"state": state, "code": "evil"}, trust_env=False, timeout=60),
        ):
            assert stranger.status_code in (404, 501)
        assert code_issuer.posts("/token") == []
        knock(back, state=state, code="good")

    screen = Screen(Browser(play))
    by_device(code_issuer, screen)
    assert screen.failures == [] and [form["code"] for form in code_issuer.posts("/token")] == ["good"]


@pytest.mark.parametrize(
    ("names_itself", "iss"), [(False, "https://evil.test"), (True, None), (True, "https://evil.test")]
)
def test_an_answer_of_another_issuer(code_issuer: Scripted, names_itself: bool, iss: str | None) -> None:
    """RFC 9207: a code of one issuer must not be carried to another."""
    code_issuer.discovery(
        device_authorization_endpoint=None, authorization_response_iss_parameter_supported=names_itself
    )
    more = {} if iss is None else {"iss": iss}
    screen = Screen(Browser(lambda asked, back: knock(back, state=asked["state"], code="x", **more)))
    assert "another issuer" in refusal("MW2108", lambda: by_device(code_issuer, screen))
    assert code_issuer.posts("/token") == []


def test_an_id_token_of_another_login(code_issuer: Scripted) -> None:
    code_issuer.answers["nonce"] = "another"  # type: ignore[assignment]
    screen = Screen(Browser(lambda asked, back: knock(back, state=asked["state"], code="x")))
    assert "another login" in refusal("MW2107", lambda: by_device(code_issuer, screen))


def test_an_issuer_without_s256(code_issuer: Scripted) -> None:
    code_issuer.discovery(device_authorization_endpoint=None, code_challenge_methods_supported=["plain"])
    assert "PKCE" in refusal("MW2107", lambda: by_device(code_issuer))


@pytest.mark.parametrize(
    "redirect", ["http://evil.test/callback", "https://127.0.0.1/x", "urn:ietf:wg:oauth:2.0:oob", "x"]
)
def test_a_redirect_that_leads_elsewhere(code_issuer: Scripted, redirect: str) -> None:
    target = LoginTarget("https://edge.test", None, code_issuer.url, "cli")
    refusal("MW2109", lambda: sign_in(target, None, redirect, Screen().terminal()))


def test_an_issuer_with_no_way_in(issuer: Scripted) -> None:
    issuer.discovery(device_authorization_endpoint=None, authorization_endpoint=None)
    refusal("MW2106", lambda: by_device(issuer))


# --- refreshing


def kept(keep: LoginStore, issuer: Scripted, seconds: int, **changes: Any) -> SavedLogin:
    values = {
        "name": "https://edge.test", "root": None, "issuer": issuer.url, "client": "cli",
        "token_endpoint": f"{issuer.url}/token", "revocation_endpoint": f"{issuer.url}/revoke", "kind": "access",
        "expires_at": int(time.time()) + seconds, "token": Secret(CANARY), "refresh": Secret("r1"), **changes,
    }  # fmt: skip
    login = SavedLogin(**values)
    keep.save(login)
    return login


BROKEN = [
    answer(503),
    answer(200, b"<html>"),
    answer(400, {"error": "invalid_grant"}),
    answer(200, tokens(token_type="x")),
]


@pytest.mark.parametrize("broken", BROKEN)
def test_what_still_holds_is_used_while_the_issuer_fails(
    issuer: Scripted, keep: LoginStore, broken: Answer
) -> None:
    login = kept(keep, issuer, 30)
    issuer.answers["/token"] = broken
    assert fresh_login(keep, login.name) == login == keep.load(login.name)


@pytest.mark.parametrize("broken", BROKEN)
def test_what_is_over_is_not_used(issuer: Scripted, keep: LoginStore, broken: Answer) -> None:
    login = kept(keep, issuer, -1)
    issuer.answers["/token"] = broken
    with pytest.raises(MeshwardError) as caught:
        fresh_login(keep, login.name)
    assert caught.value.code.number in ("MW2102", "MW2107", "MW2112") and CANARY not in str(caught.value)
    assert keep.load(login.name) == login  # the refresh token is not lost to a passing fault


def test_an_issuer_that_sends_no_new_refresh_token_means_the_old_one(
    issuer: Scripted, keep: LoginStore
) -> None:
    login = kept(keep, issuer, -1)
    issuer.answers["/token"] = answer(200, tokens())
    assert fresh_login(keep, login.name).refresh == Secret("r1")
    assert issuer.posts("/token") == [
        {"grant_type": "refresh_token", "refresh_token": "r1", "client_id": "cli"}
    ]


def test_a_login_without_refresh_token_ends_with_its_token(issuer: Scripted, keep: LoginStore) -> None:
    login = kept(keep, issuer, 30, refresh=None)
    assert fresh_login(keep, login.name) == login
    kept(keep, issuer, -1, refresh=None)
    refusal("MW2112", lambda: fresh_login(keep, login.name))
    assert issuer.asked == []


@pytest.mark.parametrize("broken", [answer(503, {"error": "busy"}), answer(200, b"<html>")])
def test_logout_forgets_whatever_the_issuer_says(issuer: Scripted, keep: LoginStore, broken: Answer) -> None:
    login = kept(keep, issuer, 300)
    issuer.answers["/revoke"] = broken
    assert "issuer" in (forget(keep, login.name) or "")
    assert keep.load(login.name) is None and issuer.posts("/revoke")[0]["token"] == "r1"


# --- the edge


def metadata(edge: Scripted, **changes: Any) -> Place:
    place = Place(edge.url, None)
    document = {
        "resource": edge.url,
        "authorization_servers": ["https://a.test"],
        "meshward_login": {"https://a.test": "cli"},
    }
    edge.answers["/.well-known/oauth-protected-resource"] = answer(200, document | changes)
    return place


def test_an_edge_that_is_another_one(issuer: Scripted) -> None:
    """RFC 9728, 3.3: else one edge could send people to sign in for another."""
    refusal("MW2104", lambda: login_clients(metadata(issuer, resource="https://other.test"), Wire()))
    refusal("MW2104", lambda: login_clients(Place(f"{issuer.url}/x", None), Wire()))


@pytest.mark.parametrize(
    "offered",
    [
        {"https://untrusted.test": "cli"},
        {"https://a.test": 5},
        {"https://a.test": ""},
        "cli",
        ["https://a.test"],
        None,
    ],
)
def test_clients_that_are_not_offered_properly(issuer: Scripted, offered: Any) -> None:
    clients = login_clients(metadata(issuer, meshward_login=offered), Wire())
    assert clients == {}
    refusal("MW2105", lambda: choose(clients, None, issuer.url))


def test_which_issuer(issuer: Scripted) -> None:
    one = login_clients(metadata(issuer), Wire())
    assert choose(one, None, "e") == ("https://a.test", "cli")
    two = one | {"https://b.test": "other"}
    assert choose(two, "https://b.test", "e") == ("https://b.test", "other")
    assert "several" in refusal("MW2105", lambda: choose(two, None, "e"))
    refusal("MW2105", lambda: choose(two, "https://c.test", "e"))


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8443", "https://e.test/m/x", "https://e.test/?a", "e.test"]
)
def test_what_is_no_edge(url: str) -> None:
    refusal("MW2101", lambda: origin(url))


def test_an_edge_has_one_spelling() -> None:
    assert {origin(url) for url in ("https://E.test", "https://e.test/", "https://e.test:443")} == {
        "https://e.test"
    }


def test_the_token_is_for_the_edge_alone(issuer: Scripted, keep: LoginStore) -> None:
    """A login for no edge is shown to nobody, and an edge's redirect leads nowhere."""
    refusal("MW2111", lambda: who_am_i(kept(keep, issuer, 300, name=issuer.url)))
    assert issuer.asked == []
    with scripted() as edge, scripted() as elsewhere:
        edge.answers["/.well-known/meshward/whoami"] = answer(302, Location=f"{elsewhere.url}/x")
        refusal("MW2113", lambda: who_am_i(kept(keep, issuer, 300, name=edge.url)))
        assert elsewhere.asked == []
        edge.answers["/.well-known/meshward/whoami"] = answer(401, {"error": "Not you.", "error_type": "x"})
        said = refusal("MW2113", lambda: who_am_i(kept(keep, issuer, 300, name=edge.url)))
        assert "Not you." in said


def test_what_was_given_decides_what_is_signed_in_for(issuer: Scripted, tmp_path: Path) -> None:
    metadata(issuer)

    def given(edge: str | None, name: str | None, client: str | None) -> LoginTarget:
        return target_of(edge, name, client, None, tmp_path, {})

    assert given(None, "https://a.test", "me") == LoginTarget("https://a.test", None, "https://a.test", "me")
    assert given("https://e.test", "https://a.test", "me").name == "https://e.test"
    refusal("MW2114", lambda: given(None, None, None))
    refusal("MW2114", lambda: given("https://e.test", None, "me"))
    refusal("MW2114", lambda: given(None, "https://a.test", None))


def test_an_issuer_with_tls_leads_nowhere_without(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not to this machine either, where anybody may listen."""
    document = {"issuer": "https://sso.test", "token_endpoint": "https://sso.test/t"}
    for name in (
        "token_endpoint",
        "device_authorization_endpoint",
        "authorization_endpoint",
        "revocation_endpoint",
    ):
        reply = WireReply(200, document | {name: "http://127.0.0.1:1/x"})
        monkeypatch.setattr(Wire, "get", lambda *_, reply=reply: reply)
        assert name in refusal("MW2106", lambda: discover("https://sso.test", Wire()))
