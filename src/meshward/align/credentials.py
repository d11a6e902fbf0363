"""Tokens and callers to try: the edge's own, and what somebody else could come with."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from meshward.align.expected import TOKEN_HEADER, Expected, Permitted
from meshward.align.istio.jwks import Key
from meshward.align.istio.providers import Provider
from meshward.align.istio.request import Client, Request, Token, TokenText
from meshward.align.world import Spot

NOW = 1_800_000_000
_ALGORITHMS = {"RSA": "RS256", "OKP": "EdDSA", "oct": "HS256"}
SOMEBODY = "ns/elsewhere/sa/somebody"


def ours(expected: Expected, spot: Spot) -> Provider | None:
    """Who vouches for the edge's tokens, and takes them where the edge puts them."""
    found = [each for each in spot.sidecar.providers if each.issuer == expected.issuer]
    placed = [each for each in found if (TOKEN_HEADER, "") in each.headers]
    return next(iter([*placed, *found]), None)


def edge_token(expected: Expected, spot: Spot, permissions: Iterable[str]) -> Token:
    """As the edge mints it, with its key; where that is not known, with the first that is believed."""
    permissions = tuple(permissions)
    claims = {
        "iss": expected.issuer,
        "sub": "okta:00u1",
        "aud": [expected.audience, *permissions],
        "exp": NOW + 60,
        "iat": NOW,
        "scope": " ".join(permissions),
    }
    provider = ours(expected, spot)
    keys = (provider.keys or ()) if provider else ()
    known = [key for key in keys if expected.keys is None or key.material in expected.keys]
    if known:
        return signed(claims, known[0])
    return Token(claims, (expected.keys or ("none",))[0], "", "ES256")


def signed(claims: dict[str, Any], key: Key) -> Token:
    return Token(claims, key.material, key.kid, key.alg or _ALGORITHMS.get(key.family, key.family))


def edge_request(expected: Expected, spot: Spot, route: Permitted) -> Request:
    """What must pass."""
    token = edge_token(expected, spot, [route.permission])
    return Request(
        Client(expected.edge),
        route.method,
        route.path,
        {TOKEN_HEADER: (TokenText(token),)},
        host=host(spot),
        port=port(spot),
        now=NOW,
        sni="",
    )


def port(spot: Spot) -> int:
    return spot.guarded[0].place.target_port


def host(spot: Spot) -> str:
    place = spot.guarded[0].place
    return f"{place.host}:{place.port}"
