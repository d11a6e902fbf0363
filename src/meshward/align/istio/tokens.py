"""Envoy's jwt_authn over one request: who vouches for its token, or why it is refused.

A provider's requirement is "a valid token or none"; with several providers any one that is met will do. A missing token
therefore passes here, and only a rule that asks for a claim refuses it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from meshward.align.istio.providers import Provider
from meshward.align.istio.request import Request, Token, TokenText, Value

SKEW = 60  # seconds, Envoy's default, which istiod leaves
OK, MISSED, ISSUER = "ok", "Jwt_is_missing", "Jwt_issuer_is_not_configured"
_BROKEN, _EARLY, _EXPIRED = "Jwt_is_not_in_the_form", "Jwt_not_yet_valid", "Jwt_is_expired"
_AUDIENCE, _KEY = "Audiences_in_Jwt_are_not_allowed", "Jwt_verification_fails"
ELSEWHERE = "keys_are_fetched"


@dataclass(frozen=True, slots=True)
class Verdict:
    """`provider` vouched for `token`; both None for a request that passes without one. `asked`: all providers."""

    status: str
    provider: Provider | None = None
    token: Token | None = None
    asked: tuple[Provider, ...] = ()

    @property
    def passes(self) -> bool:
        return self.status == OK

    @property
    def code(self) -> int:
        """The answer's status where it does not pass."""
        return 403 if self.status == _AUDIENCE else 401


def verify(providers: Sequence[Provider], request: Request, *, trust_fetched: bool = False) -> Verdict:
    """The verdict; keys that are fetched are taken to be the signer's where `trust_fetched`, else nobody's."""
    found = _verify(providers, request, trust_fetched) if providers else Verdict(OK)
    return replace(found, asked=tuple(providers))


def _verify(providers: Sequence[Provider], request: Request, trust_fetched: bool) -> Verdict:
    each = [_by_provider(provider, request, trust_fetched) for provider in providers]
    first = next((verdict for verdict in each if verdict.passes), None)
    if first is not None:
        return first
    optional = [
        _either([verdict, _or_missing(provider, providers, request, trust_fetched)])
        for provider, verdict in zip(providers, each, strict=True)
    ]
    every = next((verdict for verdict in optional if not verdict.passes), None)
    if every is None:  # none has a token; or what one took, another lets pass as its own
        return next((verdict for verdict in optional if verdict.token), Verdict(OK))
    return every if len(providers) == 1 else _either([*each, every])


def claims_seen(verdict: Verdict) -> dict[str, Any]:
    """The claims as rules see them: the space-delimited ones are lists."""
    if verdict.token is None or verdict.provider is None:
        return {}
    claims = dict(verdict.token.claims)
    for name in verdict.provider.split:
        if isinstance(claims.get(name), str):
            claims[name] = claims[name].split(" ")
    return claims


def _either(verdicts: Sequence[Verdict]) -> Verdict:
    """The first that passes; else the last reason that is more than missing or of another issuer."""
    final = Verdict(MISSED)
    for verdict in verdicts:
        if verdict.passes:
            return verdict
        if verdict.status != MISSED and (verdict.status != ISSUER or final.status == MISSED):
            final = verdict
    return final


def _by_provider(provider: Provider, request: Request, trust_fetched: bool) -> Verdict:
    """All tokens at this provider's places must be good; the one checked last is the one that is believed."""
    last = Verdict(MISSED)
    for token in reversed(list(_tokens(provider, request))):
        status = _check(token, provider.issuer, provider, request.now, trust_fetched)
        if status != OK:
            return Verdict(status)
        last = Verdict(OK, provider, token)
    return last


def _or_missing(
    provider: Provider, providers: Sequence[Provider], request: Request, trust_fetched: bool
) -> Verdict:
    """Envoy's allow_missing: no token passes; all that are there must be good for whoever has their issuer."""
    last = Verdict(OK)
    for token in reversed(list(_tokens(provider, request))):
        named = _issuer(token)
        vouching = next((each for each in providers if each.issuer == named), None)
        status = (
            ISSUER
            if vouching is None
            else _check(token, provider.issuer, vouching, request.now, trust_fetched)
        )
        if status != OK:
            return Verdict(status)
        last = Verdict(OK, vouching, token)
    return last


def _tokens(provider: Provider, request: Request) -> Iterator[Token]:
    for name, prefix in sorted(provider.headers, key=lambda each: each[0] + each[1]):
        for value in request.headers.get(name, ()):
            found = _in_value(value, prefix)
            if found is not None:
                yield found
    for name in sorted(provider.params):
        if name in request.params:
            yield request.params[name]
    for name in sorted(provider.cookies):
        if name in request.cookies:
            yield request.cookies[name]


_NO_TOKEN = Token({}, "", broken=True)


def _in_value(value: Value, prefix: str) -> Token | None:
    """The token of a header's value; None where the value has no `prefix` and so no token for this provider."""
    before = value.before if isinstance(value, TokenText) else value
    if prefix not in before:
        return None
    if isinstance(value, str) or before != (before[: before.find(prefix)] + prefix if prefix else ""):
        return _NO_TOKEN
    return value.token


def _issuer(token: Token) -> str:
    issuer = token.claims.get("iss", "")
    return issuer if isinstance(issuer, str) else ""


def _check(token: Token, place: str, provider: Provider, now: int, trust_fetched: bool) -> str:
    """`place`: the issuer that the token's place is for; empty for any."""
    claims = token.claims
    audiences = _audiences(claims.get("aud", []))
    times = [claims.get(name, 0) for name in ("nbf", "exp")]
    worded = all(isinstance(claims.get(name, ""), str) for name in ("iss", "sub", "jti"))
    if token.broken or audiences is None or not worded or not all(map(_is_time, times)):
        return _BROKEN
    if place and _issuer(token) != place:
        return ISSUER
    not_before, expires = (int(each) for each in times)
    if now + SKEW < not_before:
        return _EARLY
    if expires and now > expires + SKEW:
        return _EXPIRED
    if provider.audiences and not {*map(_plain, provider.audiences)} & {*map(_plain, audiences)}:
        return _AUDIENCE
    if provider.keys is None:
        return OK if trust_fetched else ELSEWHERE
    good = any(key.takes(token.kid, token.alg) and key.material == token.key for key in provider.keys)
    return OK if good else _KEY


def _is_time(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 2**63


def _audiences(value: object) -> list[str] | None:
    found = [value] if isinstance(value, str) else value
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        return None
    return found


def _plain(audience: str) -> str:
    """Envoy compares audiences without a scheme in front and a slash behind."""
    return audience.removeprefix("https://").removeprefix("http://").removesuffix("/")
