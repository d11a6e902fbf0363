"""What a token endpoint answers, and which of it an edge is sent (RFC 6749, 5; OpenID Connect Core, 3.1.3.7)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from meshward.kit import codes
from meshward.kit.errors import MeshwardError
from meshward.kit.secret import Secret
from meshward.kit.skew import spelled, until
from meshward.kit.strict import base64url, json_object
from meshward.kit.text import is_plain
from meshward.login.wire import WireReply, printable

_SKEW = 60  # seconds that a clock may be wrong before an ID token seems to be over


@dataclass(frozen=True, slots=True)
class Tokens:
    """A token endpoint's good answer. `expires_in` is in seconds from when it was given."""

    access: Secret
    id: Secret | None
    refresh: Secret | None
    expires_in: int | None


@dataclass(frozen=True, slots=True)
class Bearer:
    """The token that an edge is sent. `kind`: `access` or `id`; `expires_at`: seconds since the epoch."""

    kind: str
    token: Secret
    expires_at: int


def read_tokens(reply: WireReply) -> Tokens:
    """Raises MeshwardError (MW2107) for an answer that gives none that can be sent as a bearer."""
    access = reply.text("access_token")
    if reply.status != 200 or access is None:
        raise useless_tokens_error(f"it gives no token: {reply.error_text()}")
    if str(reply.body.get("token_type")).lower() != "bearer":
        raise useless_tokens_error(
            f"its tokens are of the type `{printable(str(reply.body.get('token_type')))}`"
        )
    identity, refresh, lasts = (
        reply.text("id_token"),
        reply.text("refresh_token"),
        reply.body.get("expires_in"),
    )
    return Tokens(
        access=_require_sendable(access),
        id=None if identity is None else _require_sendable(identity),
        refresh=None if refresh is None else Secret(refresh),
        expires_in=lasts if type(lasts) is int and lasts > 0 else None,
    )


def bearer_of(tokens: Tokens, now: float) -> Bearer:
    """The access token if it is a JWT, which an edge can verify; else the ID token. Raises MeshwardError (MW2107)."""
    claims = claims_of(tokens.access)
    if claims is not None:
        return Bearer("access", tokens.access, _end(claims, tokens.expires_in, now))
    if tokens.id is None:
        raise useless_tokens_error(
            "its access token is opaque, which no edge can verify, and there is no ID token"
        )
    return Bearer("id", tokens.id, _end(claims_of(tokens.id) or {}, None, now))


def claims_of(token: Secret) -> dict[str, Any] | None:
    """The claims of a JWT, unverified: to know when it ends and what it is. None for any other token."""
    parts = token.reveal().split(".")
    if len(parts) != 3:
        return None
    try:
        json_object(base64url(parts[0]))
        return json_object(base64url(parts[1]))
    except ValueError:
        return None


def check_identity(tokens: Tokens, issuer: str, client: str, nonce: str | None, now: float) -> None:
    """The ID token is of this issuer, for this client and this login. Its signature need not be checked: it
    came from the token endpoint itself, by TLS (OpenID Connect Core, 3.1.3.7, 6). Raises MeshwardError (MW2107).
    """
    if tokens.id is None:
        return
    claims = claims_of(tokens.id) or {}
    audience = claims.get("aud")
    if claims.get("iss") != issuer or client not in (audience if isinstance(audience, list) else [audience]):
        raise useless_tokens_error("its ID token is of another issuer or for another client")
    if nonce is not None and claims.get("nonce") != nonce:
        raise useless_tokens_error("its ID token belongs to another login")
    expires_at = claims.get("exp")
    if not isinstance(expires_at, int):
        raise useless_tokens_error("its ID token has no end")
    if expires_at < now - _SKEW:
        raise useless_tokens_error(
            f"its new ID token ended {spelled(until(expires_at, now))} ago by this machine's clock: "
            "this is clock skew, see that NTP runs at the issuer and here"
        )


def useless_tokens_error(why: str) -> MeshwardError:
    """The issuer answered, and nothing can be made of it."""
    return MeshwardError(
        codes.TOKENS_UNUSABLE,
        f"the issuer's answer cannot be used: {why}",
    )


def _require_sendable(token: str) -> Secret:
    """A token goes into a header, so it can hold nothing that ends one."""
    if not is_plain(token) or " " in token:
        raise useless_tokens_error("its token holds characters that no token has")
    return Secret(token)


def _end(claims: Mapping[str, Any], lasts: int | None, now: float) -> int:
    ends: list[int] = [claims["exp"]] if type(claims.get("exp")) is int else []
    if lasts is not None:
        ends.append(int(now) + lasts)
    if not ends:
        raise useless_tokens_error("it does not say when its token ends")
    return min(ends)
