"""Whether a rule, as it is written, permits no more than the plan does: seen from its words alone, without a request.

What it says besides (hosts, ports, addresses, further conditions) can only take away.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Any

from meshward.align.expected import Expected, Permitted
from meshward.align.istio.objects import items, mapping, text, text_list
from meshward.align.world import Spot

PERMISSION_KEYS = ("request.auth.audiences", "request.auth.claims[aud]")


def is_narrow(rule: object, expected: Expected, spot: Spot) -> bool:
    """True only where each caller, route and permission that it names is one of the plan's."""
    told = mapping(rule)
    froms, tos = items(told.get("from")), items(told.get("to"))
    trusted = all(provider.issuer == expected.issuer for provider in spot.sidecar.providers)
    if not froms or not tos or not all(_is_edge(mapping(each), expected, trusted) for each in froms):
        return False
    routes = {each for guarded in spot.guarded for each in guarded.routes}
    demanded = [values for when in items(told.get("when")) if (values := _permissions(mapping(when)))]
    return any(all(_within(mapping(each), values, routes) for each in tos) for values in demanded)


def _is_edge(part: Mapping[str, Any], expected: Expected, trusted: bool) -> bool:
    source = mapping(part.get("source"))
    principals, vouched = text_list(source.get("principals")), text_list(source.get("requestPrincipals"))
    ours = all(
        each.startswith(f"{expected.issuer}/") and "/" not in each[len(expected.issuer) + 1 :]
        for each in vouched
    )
    return (
        bool(principals) and set(principals) == {expected.edge_principal} and (ours if vouched else trusted)
    )


def _permissions(when: Mapping[str, Any]) -> list[str]:
    values = text_list(when.get("values"))
    plain = text(when.get("key")) in PERMISSION_KEYS and not any("*" in value for value in values)
    return values if plain else []


def _within(part: Mapping[str, Any], permissions: list[str], routes: set[Permitted]) -> bool:
    operation = mapping(part.get("operation"))
    methods, paths = text_list(operation.get("methods")), text_list(operation.get("paths"))
    named = product(methods, paths, permissions)
    return bool(methods and paths) and all(Permitted(*each) in routes for each in named)
