"""A login's life: made once by a person, kept, refreshed when its token is nearly over, forgotten."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from meshward.kit import codes
from meshward.kit.clock import Clock, system_clock
from meshward.kit.errors import MeshwardError
from meshward.kit.exits import Exit
from meshward.kit.wellknown import CONTROL, WHOAMI
from meshward.login import browser, device
from meshward.login.edge import VARIABLE, find, origin
from meshward.login.provider import Provider, discover
from meshward.login.store import LoginStore, SavedLogin, renew_login
from meshward.login.target import LoginTarget
from meshward.login.terminal import Terminal
from meshward.login.tokens import Tokens, bearer_of, check_identity, read_tokens
from meshward.login.wire import Wire, WireReply, printable

PATIENCE = 130.0  # seconds that a change may take: a little longer than the edge waits
FRESH = 60  # seconds that a token must still hold to be given out without a look for a newer one


def sign_in(
    target: LoginTarget,
    scope: str | None,
    redirect: str | None,
    terminal: Terminal,
    clock: Clock = system_clock,
) -> SavedLogin:
    """A new login, by device flow where the issuer has it, else by the browser. Raises MeshwardError."""
    wire = Wire()
    provider = discover(target.issuer, wire)
    asked = scope or provider.scope
    nonce = None
    if provider.device is not None and redirect is None:
        tokens = device.sign_in(wire, provider, target.client, asked, terminal)
    elif provider.authorization is not None:
        tokens, nonce = browser.sign_in(wire, provider, target.client, asked, redirect, terminal)
    else:
        raise MeshwardError(
            codes.ISSUER_UNUSABLE,
            f"`{printable(target.issuer)}` has neither a device flow nor an authorization endpoint",
            "Ask its operators how programs of people sign in.",
        )
    check_identity(tokens, provider.issuer, target.client, nonce, clock())
    return _make_login(target, provider, tokens, clock())


def _make_login(target: LoginTarget, provider: Provider, tokens: Tokens, now: float) -> SavedLogin:
    bearer = bearer_of(tokens, now)
    return SavedLogin(
        name=target.name,
        root=None if target.root is None else str(target.root),
        issuer=provider.issuer,
        client=target.client,
        token_endpoint=provider.token,
        revocation_endpoint=provider.revocation,
        kind=bearer.kind,
        expires_at=bearer.expires_at,
        token=bearer.token,
        refresh=tokens.refresh,
    )


def fresh_login(store: LoginStore, name: str, clock: Clock = system_clock) -> SavedLogin:
    """The login `name`, its token good for `FRESH` seconds where the issuer still gives one.

    One process at a time refreshes; the others find what it got: a refresh token that is used twice ends
    everybody's login at an issuer that rotates them (RFC 9700, 4.14). Raises MeshwardError: MW2111 without a
    login, MW2112 for one that is over, MW2102 if it is over and the issuer is out of reach.
    """
    login = _require_login(store, name)
    if login.expires_at - clock() >= FRESH:
        return login
    with store.locked(name):
        login = _require_login(store, name)
        if login.expires_at - clock() >= FRESH:
            return login
        return _refresh_login(store, login, clock)


def _refresh_login(store: LoginStore, login: SavedLogin, clock: Clock) -> SavedLogin:
    """With the lock held. What still holds is better than nothing, whatever the issuer says."""
    holds = login.expires_at > clock()
    if login.refresh is None:
        if holds:
            return login
        raise ended_error(login, "it has ended, and the issuer gave nothing to refresh it with")
    form = {"grant_type": "refresh_token", "refresh_token": login.refresh.reveal(), "client_id": login.client}
    try:
        reply = Wire().post(login.token_endpoint, form)
        if reply.status != 200:
            raise ended_error(login, f"the issuer says {reply.error_text()}")
        tokens = read_tokens(reply)
        check_identity(tokens, login.issuer, login.client, None, clock())
        bearer = bearer_of(tokens, clock())
    except MeshwardError:
        if holds:
            return login
        raise
    renewal = renew_login(login, bearer.kind, bearer.token, tokens.refresh, bearer.expires_at)
    store.save(renewal)
    return renewal


def forget(store: LoginStore, name: str) -> str | None:
    """Revoke at the issuer, where it can (RFC 7009), and forget. What the issuer would not do, as a sentence."""
    with store.locked(name):
        login = _require_login(store, name)
        problem = _revoke(login)
        store.forget(name)
    return problem


def _revoke(login: SavedLogin) -> str | None:
    if login.revocation_endpoint is None:
        return "The issuer cannot revoke: what it gave stays good until it ends by itself."
    kind, token = ("refresh_token", login.refresh) if login.refresh else ("access_token", login.token)
    form = {"token": token.reveal(), "token_type_hint": kind, "client_id": login.client}
    try:
        reply = Wire().post(login.revocation_endpoint, form)
    except MeshwardError as error:
        return f"The issuer could not be told: {error.message}."
    return None if reply.status == 200 else f"The issuer did not revoke: {reply.error_text()}."


def who_am_i(login: SavedLogin) -> Mapping[str, Any]:
    """What the edge says of the login. Raises MeshwardError (MW2113) if it refuses."""
    if login.name == login.issuer:
        raise _missing_error(
            "this login is for no edge in particular", "Sign in with `meshward login --edge URL`."
        )
    wire = Wire(None if login.root is None else Path(login.root))
    reply = wire.get(f"{login.name}{WHOAMI}", {"Authorization": f"Bearer {login.token.reveal()}"})
    if reply.status != 200 or reply.text("identity") is None:
        raise _stranger_error(login, reply)
    return reply.body


def ask_for(login: SavedLogin, request: Mapping[str, Any]) -> WireReply:
    """What the instance behind the edge answers to an operator. Raises MeshwardError (MW2115) for who is none."""
    if login.name == login.issuer:
        raise _missing_error(
            "this login is for no edge in particular", "Sign in with `meshward login --edge URL`."
        )
    wire = Wire(None if login.root is None else Path(login.root), silence=PATIENCE)
    bearer = {"Authorization": f"Bearer {login.token.reveal()}"}
    reply = wire.post_json(f"{login.name}{CONTROL}", request, bearer)
    if "done" in reply.body or "failed" in reply.body:
        return reply
    raise MeshwardError(
        codes.EDGE_REFUSED_COMMAND,
        f"`{login.name}` refused to be asked: {reply.error_text()}",
        exit_code=Exit.DENIED if reply.status in (401, 403) else Exit.FAULT,
    )


def choose(store: LoginStore, edge: str | None, state: Path, env: Mapping[str, str]) -> str:
    """Whose login is meant: of the edge (or issuer) as named, of this directory's instance, else the only one.

    Another edge's login that is damaged hinders only who names none.
    """
    if edge is not None:
        return edge if store.has(edge) else origin(edge)
    place = find(None, state, None, env)
    if place is not None and (store.has(place.origin) or VARIABLE in env):
        return place.origin
    names = store.names()
    if place is not None and not names:
        return place.origin
    if len(names) == 1:
        return names[0]
    if not names:
        raise _missing_error("nobody is signed in here")
    raise _missing_error(f"there are logins for {', '.join(names)}", "Choose one with --edge.")


def _require_login(store: LoginStore, name: str) -> SavedLogin:
    login = store.load(name)
    if login is None:
        raise _missing_error(f"nobody is signed in for `{printable(name)}`")
    return login


def ended_error(login: SavedLogin, why: str) -> MeshwardError:
    return MeshwardError(
        codes.LOGIN_OVER,
        f"the login for `{login.name}` is over: {why}",
    )


def _missing_error(message: str, remedy: str = "Sign in with `meshward login`.") -> MeshwardError:
    return MeshwardError(codes.NOT_SIGNED_IN, message, remedy)


def _stranger_error(login: SavedLogin, reply: WireReply) -> MeshwardError:
    denied = reply.status in (401, 403)
    hint = (
        "The audience of an ID token is the client: the policy's `audience` must list it, or the issuer must "
    )
    hint += "give a JWT as access token."
    return MeshwardError(
        codes.CALLER_NOT_KNOWN,
        f"`{login.name}` does not know you: {reply.error_text()}",
        hint if denied and login.kind == "id" else "Ask who runs it; `meshward login` signs in anew.",
        exit_code=Exit.DENIED if denied else Exit.FAULT,
    )
