"""Requests that a rule would let in, made of the rule's own words: a few of each caller, token, method and path.

They are tried, not believed: what a sidecar answers to each is the reader's to say.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice, product
from typing import Any

from meshward.align.credentials import NOW, SOMEBODY, edge_token, host, port, signed
from meshward.align.expected import TOKEN_HEADER, Expected
from meshward.align.istio.evaluate import string_matches
from meshward.align.istio.matchers import value_matcher
from meshward.align.istio.objects import items, mapping, text, text_list
from meshward.align.istio.providers import Provider
from meshward.align.istio.request import PLAINTEXT, Client, Request, Token, TokenText
from meshward.align.narrow import PERMISSION_KEYS
from meshward.align.world import Spot

MOST = 600  # of one rule
_ANY = "x"


@dataclass(frozen=True, slots=True)
class _Parts:
    """Candidates for each part of a request; `extra` is what `when` adds to all."""

    clients: Sequence[Client]
    methods: Sequence[str]
    paths: Sequence[str]
    hosts: Sequence[str]
    ports: Sequence[int]
    sources: Sequence[str | None]


def witnesses(rule: object, expected: Expected, spot: Spot) -> Iterator[Request]:
    """At most MOST of them, none where the rule's words can be met by no request."""
    told = mapping(rule)
    whens = [mapping(each) for each in items(told.get("when"))]
    froms = [mapping(mapping(each).get("source")) for each in items(told.get("from"))] or [{}]
    tos = [mapping(mapping(each).get("operation")) for each in items(told.get("to"))] or [{}]
    made = (
        request
        for source, operation in product(froms, tos)
        for request in _requests(source, operation, whens, expected, spot)
    )
    return islice(made, MOST)


def _requests(
    source: Mapping[str, Any],
    operation: Mapping[str, Any],
    whens: Sequence[Mapping[str, Any]],
    expected: Expected,
    spot: Spot,
) -> Iterator[Request]:
    routes = [each for guarded in spot.guarded for each in guarded.routes]
    methods = _words(
        operation, "methods", [*dict.fromkeys(["GET", *(r.method for r in routes[:2]), "DELETE"])]
    )
    known = [route.path for route in routes[:2]]
    paths = _paths(operation, known)
    headers = {key: _headers(whens, key) for key in _header_names(whens)}
    parts = _Parts(
        clients=_clients(source, whens, expected),
        methods=methods,
        paths=paths,
        hosts=_words(operation, "hosts", [host(spot)]),
        ports=_ports(operation, whens, spot),
        sources=_addresses(source, whens),
    )
    claims = {**claims_of(source, whens), **_behind(headers, spot)}
    tokens = list(_tokens(claims, _permissions(whens, spot), expected, spot))
    for client, token, method, path in product(parts.clients, tokens, parts.methods, parts.paths):
        for name, at, address in product(parts.hosts, parts.ports, parts.sources):
            sent: dict[str, Any] = {key: (value,) for key, value in headers.items()}
            if token:
                sent[TOKEN_HEADER] = (TokenText(token),)
            yield Request(
                client, method, path, sent, host=name, port=at, now=NOW, sni=_sni(whens),
                source_ip=address, remote_ip=address,
            )  # fmt: skip


def _clients(
    source: Mapping[str, Any], whens: Sequence[Mapping[str, Any]], expected: Expected
) -> list[Client]:
    domain = expected.trust_domain
    named: list[str] = []
    for value in [*text_list(source.get("principals")), *_said(whens, "source.principal")]:
        named += _principals(value, domain)
    for value in [*text_list(source.get("namespaces")), *_said(whens, "source.namespace")]:
        named.append(f"{domain}/ns/{_filled(value)}/sa/somebody")
    for value in [*text_list(source.get("serviceAccounts")), *_said(whens, "source.serviceAccount")]:
        left, slash, right = value.partition("/")
        spaces = (
            [left]
            if slash
            else sorted({"models", *(_filled(ns) for ns in text_list(source.get("namespaces")))})
        )
        named += [f"{domain}/ns/{space}/sa/{right or left}" for space in spaces]
    for value in [*text_list(source.get("trustDomains")), *_said(whens, "source.trustDomain")]:
        named.append(f"{domain if '*' in value else value}/{SOMEBODY}")
    found = [Client(f"spiffe://{each}") for each in dict.fromkeys(named)]
    asked = any(source.get(key) for key in ("principals", "namespaces", "serviceAccounts", "trustDomains"))
    if found or asked:
        return [*found, Client(expected.edge)]
    return [Client(f"spiffe://{domain}/{SOMEBODY}"), Client(expected.edge), PLAINTEXT]


def _principals(value: str, domain: str) -> list[str]:
    """Callers that a pattern means; of this trust domain where that can be."""
    if "*" not in value:
        return [value]
    bare = value.strip("*")
    tried = [
        f"{domain}/{SOMEBODY}",
        f"{bare}somebody",
        f"{bare}sa/somebody",
        f"{bare}/{SOMEBODY}",
        f"{bare}ns/elsewhere/sa/somebody",
        f"{domain}/ns/elsewhere{bare if bare.startswith('/') else '/sa/' + bare}",
        f"{domain}{bare if bare.startswith('/') else '/' + bare}",
        f"{domain}/ns/elsewhere/sa/x{bare}",
    ]
    matcher = value_matcher(value, "spiffe://")
    return [each for each in tried if string_matches(matcher, f"spiffe://{each}")][:3]


def _behind(headers: Mapping[str, str], spot: Spot) -> dict[str, Any]:
    """The claims that providers make these headers of."""
    pairs = [pair for provider in spot.sidecar.providers for pair in provider.claim_headers]
    return {claim: headers[name.lower()] for name, claim in pairs if name.lower() in headers}


def _permissions(whens: Sequence[Mapping[str, Any]], spot: Spot) -> list[str]:
    """A few of the model's own, and a few others that the rule names: one of these is enough."""
    own = sorted({route.permission for guarded in spot.guarded for route in guarded.routes})
    said = [value for key in PERMISSION_KEYS for value in _said(whens, key) if value not in own]
    return [*own[:4], *said[:4], "other.infer"]


def _tokens(
    claims: Mapping[str, Any], permissions: Sequence[str], expected: Expected, spot: Spot
) -> Iterator[Token | None]:
    """None, the edge's for each permission, and those that the rule asks for, by each who vouches."""
    yield None
    plain = edge_token(expected, spot, [])
    yield replace(plain, claims=_with(plain.claims, claims))
    for permission in permissions:
        token = edge_token(expected, spot, [permission])
        yield token
        if claims:
            yield replace(token, claims=_with(token.claims, claims))
    for provider in spot.sidecar.providers:
        token_of = _vouched(provider, plain)
        yield replace(token_of, claims=_with(token_of.claims, claims))
        yield replace(
            token_of,
            claims=_with({**token_of.claims, "aud": _audiences(provider, permissions)}, claims),
        )


def _vouched(provider: Provider, like: Token) -> Token:
    claims = {**like.claims, "iss": provider.issuer or like.claims["iss"], "aud": _audiences(provider, [])}
    return signed(claims, provider.keys[0]) if provider.keys else replace(like, claims=claims)


def _audiences(provider: Provider, more: Sequence[str]) -> list[str]:
    return [*(provider.audiences[:1] or ("meshward",)), *more]


def _with(claims: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """Audiences are added to, all else is replaced; a nested claim is made."""
    found = dict(claims)
    for name, value in more.items():
        if name == "aud":
            found["aud"] = [*found["aud"], value]
        else:
            found[name] = value
    return found


def claims_of(source: Mapping[str, Any], whens: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One value for each claim that is asked for."""
    found: dict[str, Any] = {}
    for value in [*text_list(source.get("requestPrincipals")), *_said(whens, "request.auth.principal")][:1]:
        issuer, slash, subject = value.rpartition("/")
        if slash and "*" not in issuer:
            found["iss"] = issuer
        if subject.strip("*"):
            found["sub"] = _filled(subject) if slash else "x" + subject.strip("*")
    for when in whens:
        key, values = text(when.get("key")), text_list(when.get("values"))
        if not values:
            continue
        if key == "request.auth.audiences":
            found["aud"] = _filled(values[0])
        elif key == "request.auth.presenter":
            found["azp"] = _filled(values[0])
        elif key.startswith("request.auth.claims["):
            names = key.removeprefix("request.auth.claims[").removesuffix("]").split("][")
            inner: Any = _filled(values[0])
            for name in reversed(names[1:]):
                inner = {name: inner}
            found[names[0]] = inner
    return found


def _said(whens: Sequence[Mapping[str, Any]], key: str) -> list[str]:
    return [value for when in whens if when.get("key") == key for value in text_list(when.get("values"))]


def _header_names(whens: Sequence[Mapping[str, Any]]) -> list[str]:
    start = "request.headers["
    names = [text(when.get("key")) for when in whens if text_list(when.get("values"))]
    return [name.removeprefix(start).removesuffix("]").lower() for name in names if name.startswith(start)]


def _headers(whens: Sequence[Mapping[str, Any]], name: str) -> str:
    for when in whens:
        if text(when.get("key")).lower() == f"request.headers[{name}]":
            return next((_filled(value) for value in text_list(when.get("values"))), _ANY)
    return _ANY


def _sni(whens: Sequence[Mapping[str, Any]]) -> str:
    return next((_filled(value) for value in _said(whens, "connection.sni")), "")


def _words(operation: Mapping[str, Any], key: str, otherwise: Sequence[str]) -> list[str]:
    values = text_list(operation.get(key))
    return [_filled(value) for value in values][:4] if values else list(otherwise)


def _paths(operation: Mapping[str, Any], known: Sequence[str]) -> list[str]:
    values = text_list(operation.get("paths"))
    if not values:
        return ["/anything/else", *known]
    found = []
    for value in values[:8]:
        if "{" in value:
            found.append(value.replace("{**}", "x/y").replace("{*}", _ANY))
        elif "*" in value:
            bare = value.strip("*")
            found += [_rooted(f"{bare}{_ANY}" if value.endswith("*") else f"{_ANY}{bare}"), *known]
        else:
            found.append(value)
    return found


def _rooted(path: str) -> str:
    return path if path.startswith("/") else f"/{path}"


def _ports(operation: Mapping[str, Any], whens: Sequence[Mapping[str, Any]], spot: Spot) -> list[int]:
    values = [*text_list(operation.get("ports")), *_said(whens, "destination.port")]
    found = [int(value) for value in values if value.isascii() and value.isdigit()][:3]
    return found or [port(spot)]


def _addresses(source: Mapping[str, Any], whens: Sequence[Mapping[str, Any]]) -> list[str | None]:
    asked = [*text_list(source.get("ipBlocks")), *text_list(source.get("remoteIpBlocks"))]
    asked += [*_said(whens, "source.ip"), *_said(whens, "remote.ip")]
    found = []
    for value in asked[:1]:
        try:
            found.append(str(ipaddress.ip_network(value, strict=False).network_address))
        except ValueError:
            continue
    return list(found) or [None]


def _filled(value: str) -> str:
    """A text that a pattern with a wildcard means."""
    if value == "*":
        return _ANY
    return f"{_ANY}{value[1:]}" if value.startswith("*") else value.replace("*", _ANY)
