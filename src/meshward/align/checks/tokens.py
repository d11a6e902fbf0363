"""Whether each sidecar believes the edge's tokens, those alone, and only where the edge puts them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from meshward.align.expected import TOKEN_HEADER
from meshward.align.finding import Finding
from meshward.align.istio.objects import Ref, is_marked
from meshward.align.istio.providers import Provider
from meshward.align.world import Spot, World
from meshward.kit import codes
from meshward.kit.text import quoted


def find(world: World) -> Iterator[Finding]:
    trusted = _trusted(world)
    for spot in world.spots:
        ours = [each for each in spot.sidecar.providers if each.issuer == world.expected.issuer]
        if not ours:
            what = f"no RequestAuthentication checks tokens of {world.expected.issuer}"
            yield Finding(codes.ALIGN_TOKENS, what, None, spot.names)
        for provider in spot.sidecar.providers:
            if provider in ours:
                yield from _ours(world, spot, provider, trusted)
            else:
                yield from _foreign(spot, provider)


def _foreign(spot: Spot, provider: Provider) -> Iterator[Finding]:
    what = f"tokens of {quoted(provider.issuer)} are believed, which is not the edge"
    yield Finding(codes.ALIGN_FOREIGN_KEYS, what, provider.origin, spot.names)


def _ours(world: World, spot: Spot, provider: Provider, trusted: frozenset[str]) -> Iterator[Finding]:
    if set(provider.audiences) != {world.expected.audience}:
        told = ", ".join(map(quoted, provider.audiences)) or "any"
        what = f"tokens for the audience {told} are taken, not for {quoted(world.expected.audience)} alone"
        yield Finding(codes.ALIGN_TOKENS, what, provider.origin, spot.names)
    if (provider.headers, provider.params, provider.cookies) != (((TOKEN_HEADER, ""),), (), ()):
        places = [quoted(name) for name, _ in provider.headers if name != TOKEN_HEADER]
        places += [f"parameter {quoted(name)}" for name in provider.params]
        places += [f"cookie {quoted(name)}" for name in provider.cookies]
        what = f"tokens are taken from {', '.join(places) or 'another place'}, not from {TOKEN_HEADER} alone"
        yield Finding(codes.ALIGN_TOKENS, what, provider.origin, spot.names)
    yield from _keys(world, spot, provider, trusted)


def _keys(world: World, spot: Spot, provider: Provider, trusted: frozenset[str]) -> Iterator[Finding]:
    if provider.bad_keys:
        return  # Envoy refuses them; said by itself
    if provider.keys is None:
        where = quoted(provider.uri) if provider.uri else "the issuer's own discovery"
        what = f"keys are fetched from {where}: whoever answers there may forge any permission"
        yield Finding(codes.ALIGN_FOREIGN_KEYS, what, provider.origin, spot.names)
        return
    foreign = [key for key in provider.keys if key.material not in trusted]
    if foreign:
        names = ", ".join(quoted(key.kid or "without a name") for key in foreign)
        known = (
            "is not the edge's" if world.expected.keys is not None else "is not one that most of ours have"
        )
        what = f"the key {names} {known}: whoever holds it may forge any permission"
        yield Finding(codes.ALIGN_FOREIGN_KEYS, what, provider.origin, spot.names)
    has = {key.material for each in spot.sidecar.providers for key in each.keys or ()}
    if trusted - has:
        what = "a key of the edge is missing: tokens that it signs are refused (stale)"
        yield Finding(codes.ALIGN_TOKENS, what, provider.origin, spot.names)


def _trusted(world: World) -> frozenset[str]:
    """The edge's keys; where nobody told them, those that more than half of the objects have that are ours."""
    if world.expected.keys is not None:
        return frozenset(world.expected.keys)
    by_object: dict[Ref, set[str]] = {}
    for spot in world.spots:
        for provider in spot.sidecar.providers:
            if provider.issuer == world.expected.issuer and provider.keys:
                by_object.setdefault(provider.origin, set()).update(key.material for key in provider.keys)
    marked = {each.ref for each in world.in_scope("RequestAuthentication") if is_marked(each)}
    ours = [materials for ref, materials in by_object.items() if ref in marked] or list(by_object.values())
    counted = Counter(material for materials in ours for material in materials)
    return frozenset(material for material, number in counted.items() if 2 * number > len(ours))
