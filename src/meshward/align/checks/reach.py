"""Who reaches a model, and who should: the edge on each exact route, and nobody whom a rule lets in beside."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from meshward.align.credentials import NOW, SOMEBODY, edge_request, host, port
from meshward.align.expected import TOKEN_HEADER, Expected, Permitted
from meshward.align.finding import Finding
from meshward.align.istio.evaluate import policy_matches
from meshward.align.istio.facts import facts
from meshward.align.istio.filters import action as action_of
from meshward.align.istio.filters import dry_run, rule_name
from meshward.align.istio.objects import Json, MeshObject, Ref, items, mapping
from meshward.align.istio.paths import normalize, without_query
from meshward.align.istio.request import Client, Request, Token, TokenText
from meshward.align.istio.tokens import Verdict
from meshward.align.istio.view import Answer, judge
from meshward.align.narrow import is_narrow
from meshward.align.witness import claims_of, witnesses
from meshward.align.world import Spot, World
from meshward.kit import codes
from meshward.kit.text import quoted

_SHOWN = 3
_OF_CALLERS = frozenset({"sub", "act", "roles", "tctx", "rctx"})  # what differs between tokens of the edge


def find(world: World) -> Iterator[Finding]:
    for spot in world.spots:
        if spot.sidecar.faults:
            continue  # nothing of it is in force; said by itself
        yield from _closed(world, spot)
        yield from _narrowed(world, spot)
        yield from _open(world, spot)


def _closed(world: World, spot: Spot) -> Iterator[Finding]:
    """Routes that the edge cannot reach, by what stands in between."""
    lost: dict[tuple[Ref | None, str], list[Permitted]] = {}
    for route in sorted({route for guarded in spot.guarded for route in guarded.routes}):
        answer = judge(spot.sidecar, edge_request(world.expected, spot, route))
        if answer.permit is not True:
            why = f"{answer.status}: {answer.why}" if answer.permit is False else answer.why
            lost.setdefault((_blamed(world, spot, route, answer), why), []).append(route)
    for (ref, why), routes in lost.items():
        shown = ", ".join(quoted(f"{route.method} {route.path}") for route in routes[:_SHOWN])
        more = f" and {len(routes) - _SHOWN} more" if len(routes) > _SHOWN else ""
        yield Finding(codes.ALIGN_CLOSED, f"the edge cannot reach {shown}{more} ({why})", ref, spot.names)


def _narrowed(world: World, spot: Spot) -> Iterator[Finding]:
    """DENY rules that the edge meets for some callers: by a claim of theirs that a token of its may have."""
    own = {route for guarded in spot.guarded for route in guarded.routes}
    for policy in {each.ref: each for each in spot.sidecar.policies.values()}.values():
        if dry_run(policy) or action_of(policy) != "DENY":
            continue
        lost = [
            route
            for rule in items(policy.spec.get("rules"))
            for route in sorted(own)
            if _meets(world, spot, rule, route)
        ]
        if lost:
            named = quoted(f"{lost[0].method} {lost[0].path}")
            what = f"the edge cannot reach {named} for some callers (403: a DENY matches)"
            yield Finding(codes.ALIGN_CLOSED, what, policy.ref, spot.names)


def _meets(world: World, spot: Spot, rule: object, route: Permitted) -> bool:
    """Whether a request that passes does not once its token has the claims that the rule asks for."""
    told = mapping(rule)
    whens = [mapping(each) for each in items(told.get("when"))]
    plain = edge_request(world.expected, spot, route)
    token = _token(plain)
    if token is None or judge(spot.sidecar, plain).permit is not True:
        return False
    for part in items(told.get("from")) or [{}]:
        asked = claims_of(mapping(mapping(part).get("source")), whens)
        if not asked or asked.get("iss", world.expected.issuer) != world.expected.issuer:
            continue
        if "roles" in asked and asked["roles"] not in world.placed.plan.roles:
            continue  # nobody has that role
        varied = {name: value for name, value in asked.items() if name in _OF_CALLERS}
        sent = replace(token, claims={**token.claims, **varied})
        if judge(spot.sidecar, replace(plain, headers={TOKEN_HEADER: (TokenText(sent),)})).permit is False:
            return True
    return False


def _blamed(world: World, spot: Spot, route: Permitted, answer: Answer) -> Ref | None:
    """What refuses; where nothing permits, the object that was to: it names the permission."""
    if answer.why != "no ALLOW matches":
        return answer.through[0] if answer.through else None
    for namespace in (spot.namespace, world.mesh.config.root_namespace):
        for each in world.mesh.of("AuthorizationPolicy", namespace):
            if route.permission in _mentioned(each.spec):
                return each.ref
    own = [ref for ref in answer.through if ref.namespace == spot.namespace]
    return own[0] if own else None


def _mentioned(spec: Json) -> set[str]:
    """The texts that its conditions name."""
    whens = [mapping(when) for rule in items(spec.get("rules")) for when in items(mapping(rule).get("when"))]
    return {value for when in whens for value in items(when.get("values")) if isinstance(value, str)}


def _open(world: World, spot: Spot) -> Iterator[Finding]:
    """Whoever else gets in: by what anybody could try, then by each rule's own words."""
    found = list(_constant(world, spot))
    yield from found
    if found:
        return
    for policy in {each.ref: each for each in spot.sidecar.policies.values()}.values():
        rules = [] if dry_run(policy) or action_of(policy) != "ALLOW" else items(policy.spec.get("rules"))
        for at, rule in enumerate(rules):
            if not is_narrow(rule, world.expected, spot):
                yield from _through(world, spot, policy, rule_name(policy, at), rule)


def _constant(world: World, spot: Spot) -> Iterator[Finding]:
    """Anybody of the mesh without a token, where no rule was asked."""
    somebody = Client(f"spiffe://{world.expected.trust_domain}/{SOMEBODY}")
    request = Request(somebody, "GET", "/", host=host(spot), port=port(spot), now=NOW, sni="")
    answer = judge(spot.sidecar, request)
    if answer.permit is not False and not any(ref.kind == "AuthorizationPolicy" for ref in answer.through):
        ref = answer.through[0] if answer.through else None
        what = f"every workload of the mesh reaches it without a token ({answer.why})"
        yield Finding(codes.ALIGN_OPEN, what, ref, spot.names)


def _through(world: World, spot: Spot, policy: MeshObject, name: str, rule: object) -> Iterator[Finding]:
    compiled = _compiled(spot, name)
    if compiled is None:
        return  # istiod drops the rule
    met = False
    for request in witnesses(rule, world.expected, spot):
        path = normalize(request.path, spot.sidecar.patched.normalization)
        if isinstance(path, int):
            continue
        seen = facts(request, path, _assumed(spot, request))
        if policy_matches(compiled, seen) is False:
            continue
        met = True
        answer = judge(spot.sidecar, request)
        if answer.permit is not False and not _is_permitted(world.expected, spot, request, path):
            yield _finding(world, spot, policy, rule, request, answer)
            return
    if not met and not _is_dead(rule):
        what = f"what its rule {name.rpartition('-')[2]} lets in cannot be judged"
        yield Finding(codes.ALIGN_NOT_JUDGED, what, policy.ref, spot.names)


def _compiled(spot: Spot, name: str) -> Json | None:
    for each in spot.sidecar.http:
        rules = each["typedConfig"].get("rules") or {}
        if name in rules.get("policies", {}) and "action" not in rules:
            found: Json = rules["policies"][name]
            return found
    return None


def _assumed(spot: Spot, request: Request) -> Verdict:
    """As if whoever vouches believed the token: what the rule itself means."""
    token = _token(request)
    provider = next(iter(spot.sidecar.providers), None)
    return Verdict("ok", provider, token, spot.sidecar.providers) if token and provider else Verdict("ok")


def _token(request: Request) -> Token | None:
    sent = request.headers.get(TOKEN_HEADER, ())
    return next((each.token for each in sent if isinstance(each, TokenText)), None)


def _is_dead(rule: object) -> bool:
    """Whether it asks for what no request of this mesh has: the vouching of nobody."""
    told = mapping(rule)
    keys = [str(mapping(when).get("key", "")) for when in items(told.get("when"))]
    vouched = [
        mapping(mapping(each).get("source")).get("requestPrincipals") for each in items(told.get("from"))
    ]
    asks = any(key.startswith("request.auth.") for key in keys) or any(vouched)
    return asks and not any(key.startswith("experimental.") for key in keys)


def _is_permitted(expected: Expected, spot: Spot, request: Request, path: str) -> bool:
    """Whether the plan permits it: the edge, with its own token for this exact route's permission."""
    token = _token(request)
    if (
        request.client.spiffe_id != expected.edge
        or token is None
        or token.claims.get("iss") != expected.issuer
    ):
        return False
    audiences = token.claims.get("aud", [])
    routes = {route for guarded in spot.guarded for route in guarded.routes}
    named = Permitted(request.method, without_query(path), "")
    return expected.audience in audiences and any(
        replace(named, permission=each) in routes for each in audiences
    )


def _is_of_another(world: World, spot: Spot, policy: MeshObject) -> bool:
    """Whether it speaks of other models' permissions, and of none of these."""
    own = {route.permission for guarded in spot.guarded for route in guarded.routes}
    named = _mentioned(policy.spec)
    return bool(named & world.permissions) and not named & own


def _finding(
    world: World, spot: Spot, policy: MeshObject, rule: object, request: Request, answer: Answer
) -> Finding:
    who = request.client.spiffe_id or "anybody, in plain text,"
    token = _token(request)
    shown = _shown(world.expected, token) if token else "without a token"
    sure = "reaches" if answer.permit else "may reach"
    plain = [(name, each) for name, sent in request.headers.items() for each in sent if isinstance(each, str)]
    named = "".join(f" and {name}: {value}" for name, value in plain)
    what = f"{who} {sure} {quoted(f'{request.method} {request.path}')} {shown}{named}"
    code = codes.ALIGN_SELECTOR if _is_of_another(world, spot, policy) else codes.ALIGN_OPEN
    if any(key.startswith("spec.rules") for key in policy.dropped):
        code = codes.ALIGN_FIELD_DROPPED
    elif _is_negative(rule):
        code = codes.ALIGN_NEGATION
    return Finding(code, what, policy.ref, spot.names)


def _shown(expected: Expected, token: Token) -> str:
    audiences = [each for each in token.claims.get("aud", []) if each != expected.audience]
    issuer = token.claims.get("iss", "")
    of = "" if issuer == expected.issuer else f" of {issuer}"
    named = f" for {', '.join(map(quoted, map(str, audiences)))}" if audiences else " for no permission"
    return f"with a token{of}{named}"


def _is_negative(rule: object) -> bool:
    """Whether it says what a request must not be."""
    told = mapping(rule)
    parts = [mapping(mapping(each).get("source")) for each in items(told.get("from"))]
    parts += [mapping(mapping(each).get("operation")) for each in items(told.get("to"))]
    parts += [mapping(each) for each in items(told.get("when"))]
    return any(key.startswith("not") and part[key] for part in parts for key in part)
