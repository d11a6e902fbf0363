"""Signing in at the real `oidc-provider`: both flows, refresh, revocation, and what a person refuses."""

from __future__ import annotations

import asyncio
import base64
import ssl
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest

from meshward.kit.errors import MeshwardError
from meshward.kit.secret import Secret
from meshward.login.session import forget, fresh_login, sign_in
from meshward.login.store import LoginStore, SavedLogin
from meshward.login.target import LoginTarget
from meshward.login.tokens import claims_of
from meshward.oidc.issuer import KeyPlace, TrustedIssuer
from meshward.oidc.keys import IssuerKeys, key_document
from meshward.oidc.profiles import load_profile
from meshward.oidc.verify import VerifiedToken, Verifier
from meshward.testing.stand_ins import free_port
from tests.login.conftest import Screen
from tests.oidc_provider.running import AUDIENCE, BATCH, CLIENT, OidcProvider, Person

EDGE = "https://models.test"


def target(issuer: str) -> LoginTarget:
    return LoginTarget(EDGE, None, issuer, CLIENT)


def at_device(issuer: str, person: str = "alice", answer: str = "confirm") -> Callable[[str], object]:
    """Who reads a line with a code enters it at the issuer."""

    def react(line: str) -> None:
        if line.startswith("and enter the code"):
            Person(person).device(f"{issuer}/device", line.rpartition("  ")[2], answer=answer)

    return react


def at_browser(person: str = "alice", **more: bool) -> Callable[[str], object]:
    def react(line: str) -> None:
        if line.startswith("http://127.0.0.1") and "/auth?" in line:
            Person(person).browser(line, **more)

    return react


def by_device(issuer: str, person: str = "alice") -> SavedLogin:
    screen = Screen(at_device(issuer, person))
    login = sign_in(target(issuer), None, None, screen.terminal())
    assert screen.failures == []
    return login


class Edge:
    """What an edge that trusts this issuer says of tokens. `later`: seconds that its clock is moved on by."""

    def __init__(self, issuer: str) -> None:
        profile, audiences = load_profile("oidc"), frozenset({AUDIENCE, CLIENT})
        place = KeyPlace(allow=frozenset({"http", "private"}))
        trusted = TrustedIssuer("it", issuer, profile, audiences, frozenset(), place)
        document = key_document(ssl.create_default_context())
        self.later = 0.0
        clock = lambda: time.monotonic() + self.later  # noqa: E731
        self._verifier = Verifier([IssuerKeys(trusted, document, lambda *_: None, clock)])

    async def verified(self, *tokens: Secret) -> list[VerifiedToken]:
        return [await self._verifier.verify(token) for token in tokens]


def verified(issuer: str, token: Secret) -> VerifiedToken:
    return asyncio.run(Edge(issuer).verified(token))[0]


def test_device_flow(provider: OidcProvider) -> None:
    screen = Screen(at_device(provider.full))
    login = sign_in(target(provider.full), None, None, screen.terminal())
    assert screen.failures == [] and screen.found("open  (.*)") == f"{provider.full}/device"
    token = verified(provider.full, login.token)
    assert (token.subject, token.client, token.claims["groups"]) == ("alice", CLIENT, ["data-science"])
    assert login.kind == "access" and login.refresh is not None
    assert login.expires_at == token.expires_at and screen.pauses == [5]


def test_the_browser_gets_the_page_that_knows_the_code(provider: OidcProvider) -> None:
    opened: list[str] = []

    def browse(url: str) -> bool:
        opened.append(url)
        return True

    screen = Screen(at_device(provider.full))
    sign_in(target(provider.full), None, None, screen.terminal(browse))
    code = screen.found("enter the code  (.*)")
    assert opened == [f"{provider.full}/device?user_code={code}"]


def test_a_person_who_refuses_the_device(provider: OidcProvider) -> None:
    screen = Screen(at_device(provider.full, answer="abort"))
    with pytest.raises(MeshwardError, match="refused on the issuer's page") as caught:
        sign_in(target(provider.full), None, None, screen.terminal())
    assert caught.value.code.number == "MW2108" and caught.value.exit_code == 10


@pytest.mark.parametrize("browse", [False, True])
def test_code_with_pkce(provider: OidcProvider, browse: bool) -> None:
    """By the URL that is printed, and by the browser that is opened."""
    screen = Screen(at_browser() if not browse else lambda _: None)

    def open_it(url: str) -> bool:
        if browse:
            Person("alice").browser(url)
        return browse

    login = sign_in(target(provider.browser), None, None, screen.terminal(open_it))
    assert screen.failures == []
    token = verified(provider.browser, login.token)
    assert (token.subject, token.claims["groups"]) == ("alice", ["data-science"])
    assert login.refresh is not None and login.kind == "access"
    assert browse or screen.found(r"ssh -L (\d+):127") != ""


def test_a_redirect_that_is_registered_whole_is_used_as_it_is(provider: OidcProvider) -> None:
    screen = Screen(at_browser())
    port = free_port()
    login = sign_in(target(provider.full), None, f"http://127.0.0.1:{port}/callback", screen.terminal())
    assert login.kind == "access" and screen.failures == []


def test_a_person_who_refuses_in_the_browser(provider: OidcProvider) -> None:
    screen = Screen(at_browser(agree=False))
    with pytest.raises(MeshwardError, match="the issuer refused: access_denied") as caught:
        sign_in(target(provider.browser), None, None, screen.terminal())
    assert caught.value.code.number == "MW2108"


def test_an_opaque_access_token_means_the_id_token(provider: OidcProvider) -> None:
    login = by_device(provider.opaque)
    token = verified(provider.opaque, login.token)
    assert login.kind == "id" and (claims_of(login.token) or {})["aud"] == CLIENT
    assert (token.subject, token.claims["groups"]) == ("alice", ["data-science"])


def test_a_client_that_nobody_registered(provider: OidcProvider) -> None:
    with pytest.raises(MeshwardError, match="invalid_client"):
        sign_in(LoginTarget(EDGE, None, provider.full, "nobody"), None, None, Screen().terminal())


@pytest.mark.parametrize("kind", ["full", "browser", "opaque"])
def test_refresh(provider: OidcProvider, keep: LoginStore, kind: str) -> None:
    issuer = getattr(provider, kind)
    if kind == "browser":
        login = sign_in(target(issuer), None, None, Screen(at_browser()).terminal())
    else:
        login = by_device(issuer)
    keep.save(login)
    assert fresh_login(keep, EDGE) == login
    renewed = fresh_login(keep, EDGE, lambda: login.expires_at - 30)
    assert renewed.kind == login.kind and renewed.refresh != login.refresh
    assert verified(issuer, renewed.token).subject == "alice"
    assert keep.load(EDGE) == renewed


def test_many_at_once_refresh_once(provider: OidcProvider, keep: LoginStore) -> None:
    """The issuer rotates refresh tokens: a second use of one would end the login."""
    login = by_device(provider.full)
    keep.save(login)
    provider.events()
    late = login.expires_at - 30
    clock = lambda: late if keep.load(EDGE) == login else time.time()  # noqa: E731
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: fresh_login(keep, EDGE, clock), range(8)))
    assert len(found) == 1 and found != {login}
    assert provider.events() == ["refresh_token"]


def test_a_login_that_was_revoked_is_over(provider: OidcProvider, keep: LoginStore) -> None:
    login = by_device(provider.full)
    keep.save(login)
    assert forget(keep, EDGE) is None
    assert keep.load(EDGE) is None and "revoked" in provider.events()
    keep.save(login)
    assert fresh_login(keep, EDGE, lambda: login.expires_at - 30) == login  # it still holds
    with pytest.raises(MeshwardError, match="invalid_grant") as caught:
        fresh_login(keep, EDGE, lambda: login.expires_at + 1)
    assert caught.value.code.number == "MW2112" and login.token.reveal() not in caught.value.message


def test_client_credentials(provider: OidcProvider) -> None:
    answer = httpx2.post(
        f"{provider.full}/token",
        data={"grant_type": "client_credentials"},
        auth=BATCH,
        trust_env=False,
        timeout=60,
    )
    token = verified(provider.full, Secret(answer.json()["access_token"]))
    assert (token.subject, token.client) == ("batch", "batch")


def test_key_rotation(provider: OidcProvider) -> None:
    """A token with the new key is good within 10 s of the last look; one with the old key all the while."""
    old = by_device(provider.full).token

    async def walk() -> None:
        edge = Edge(provider.full)
        (before,) = await edge.verified(old)
        kid = provider.rotate()
        new = await asyncio.to_thread(_batch, provider.full)
        assert kid in base64.urlsafe_b64decode(new.reveal().split(".")[0] + "==").decode()
        edge.later = 10
        after, still = await edge.verified(new, old)
        assert after.subject == "batch" and still.ath == before.ath

    asyncio.run(walk())


def _batch(issuer: str) -> Secret:
    form = {"grant_type": "client_credentials"}
    return Secret(
        httpx2.post(f"{issuer}/token", data=form, auth=BATCH, trust_env=False, timeout=60).json()[
            "access_token"
        ]
    )
