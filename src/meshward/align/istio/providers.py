"""RequestAuthentications of a workload as Envoy's token providers, in the order in which istiod lists them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from meshward.align.istio.jwks import Key, NoKeys, read_keys
from meshward.align.istio.objects import MeshObject, Ref, items, mapping, text, text_list

_DEFAULT_HEADERS, _DEFAULT_PARAMS = (("authorization", "Bearer "),), ("access_token",)
_SPLIT = ("permission", "scope")


@dataclass(frozen=True, slots=True)
class Provider:
    """One jwtRule. `keys` is None where they are fetched from elsewhere (`uri`, or the issuer's own discovery)."""

    origin: Ref
    issuer: str
    audiences: tuple[str, ...]
    headers: tuple[tuple[str, str], ...]
    params: tuple[str, ...]
    cookies: tuple[str, ...]
    keys: tuple[Key, ...] | None
    uri: str = ""
    bad_keys: str = ""
    forward: bool = False
    payload_header: str = ""
    claim_headers: tuple[tuple[str, str], ...] = ()
    split: tuple[str, ...] = _SPLIT


def providers(objects: Sequence[MeshObject]) -> tuple[Provider, ...]:
    """Sorted by issuer; rules of one issuer stay in the order of their objects."""
    found = [
        _provider(each.ref, mapping(rule)) for each in objects for rule in items(each.spec.get("jwtRules"))
    ]
    return tuple(sorted(found, key=lambda provider: provider.issuer))


def _provider(origin: Ref, rule: Mapping[str, Any]) -> Provider:
    headers = tuple(
        (text(mapping(each).get("name")).lower(), text(mapping(each).get("prefix")))
        for each in items(rule.get("fromHeaders"))
    )
    params, cookies = (tuple(text_list(rule.get(name))) for name in ("fromParams", "fromCookies"))
    if not headers and not params and not cookies:
        headers, params = _DEFAULT_HEADERS, _DEFAULT_PARAMS
    inline = text(rule.get("jwks"))
    keys: tuple[Key, ...] | None = None
    bad = ""
    if inline:
        try:
            keys = read_keys(inline)
        except NoKeys as why:
            keys, bad = (), str(why)
    return Provider(
        origin=origin,
        issuer=text(rule.get("issuer")),
        audiences=tuple(text_list(rule.get("audiences"))),
        headers=headers,
        params=params,
        cookies=cookies,
        keys=keys,
        uri=text(rule.get("jwksUri")) or text(rule.get("jwks_uri")),
        bad_keys=bad,
        forward=rule.get("forwardOriginalToken") is True,
        payload_header=text(rule.get("outputPayloadToHeader")).lower(),
        claim_headers=tuple(
            (text(mapping(each).get("header")).lower(), text(mapping(each).get("claim")))
            for each in items(rule.get("outputClaimToHeaders"))
        ),
        split=tuple(dict.fromkeys([*_SPLIT, *text_list(rule.get("spaceDelimitedClaims"))])),
    )
