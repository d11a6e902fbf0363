"""What a guard lets pass: exact routes, each with the permission that its token must hold, who is revoked, and the net
under each grant's limit (RDS).

The route that serves a request names what jwt_authn demands of it, so nothing is matched twice. A request without a
route, and a route without a demand that jwt_authn knows, are refused there: see `tokens`.
"""

from __future__ import annotations

import re
from typing import Any

from meshward.targets.envoy.projection import GuardedRoute, GuardView, Net
from meshward.targets.envoy.tokens import LONGEST_CHAIN, actor_header, claim_headers
from meshward.targets.envoy.wire import (
    BUFFER,
    GRANT_HEADER,
    JWT_RESOURCE,
    LAYER_HEADER,
    LIMIT,
    PEER_STATE,
    RBAC,
    REASON_HEADER,
    SUBJECT_HEADER,
    UPSTREAM,
    Json,
    typed_extension,
)

# A model must not be able to speak as the guard.
_OWN_ANSWER_HEADERS = (LAYER_HEADER, REASON_HEADER)
# `reset` would run one POST several times; a connection that never stood has run nothing. Each try is another server
# while there is one; the same rule for one server, so that a replica more is no other rule.
_RETRY: Json = {
    "retry_on": "connect-failure",
    "num_retries": 3,
    "retry_host_predicate": [
        {
            "name": "envoy.retry_host_predicates.previous_hosts",
            "typed_config": typed_extension("extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"),
        }
    ],
    "host_selection_retry_max_attempts": 5,
}
_UNLIMITED = {"max_tokens": 2**32 - 1, "tokens_per_fill": 2**32 - 1, "fill_interval": "1s"}


def route_configuration(view: GuardView, max_identities: int) -> Json:
    """The guard's whole rule set as one RouteConfiguration, counting `max_identities` apart."""
    host: Json = {
        "name": "model",
        "domains": [view.dns_name],
        "routes": [each for route in view.routes for each in _routes(view, route)],
        "typed_per_filter_config": _for_all_routes(view, max_identities),
    }
    return {
        "name": "guard",
        "virtual_hosts": [host],
        # What the guard itself has put there: Envoy the first, jwt_authn the others.
        "request_headers_to_remove": ["x-forwarded-proto", *claim_headers(view)],
        "response_headers_to_remove": list(_OWN_ANSWER_HEADERS),
    }


def _for_all_routes(view: GuardView, max_identities: int) -> Json:
    limits = {LIMIT: limit_filter(view.nets, max_identities)} if view.nets else {}
    conditions = _conditions(view)
    return {**limits, **({RBAC: _live(conditions)} if conditions else {})}


def _routes(view: GuardView, route: GuardedRoute) -> list[Json]:
    """Twice: a body whose length is told and allowed streams through; any other meets the buffer, which counts it."""
    told: Json = {"name": "content-length", "range_match": {"start": 0, "end": view.max_body + 1}}
    counted = {
        BUFFER: typed_extension(
            "extensions.filters.http.buffer.v3.BufferPerRoute", buffer={"max_request_bytes": view.max_body}
        )
    }
    return [_route(view, route, [told], {}), _route(view, route, [], counted)]


def _route(view: GuardView, route: GuardedRoute, headers: list[Json], filters: Json) -> Json:
    requirement = typed_extension(
        "extensions.filters.http.jwt_authn.v3.PerRouteConfig", requirement_name=route.permission
    )
    return {
        "name": route.permission,
        "match": {
            "path": route.path,
            "headers": [
                {"name": ":method", "string_match": {"exact": route.method}},
                *headers,
            ],
            "filter_state": [{"key": PEER_STATE, "string_match": _one_of(view.callers)}],
        },
        "route": {
            "cluster": UPSTREAM,
            "timeout": f"{view.max_duration}s",
            "idle_timeout": f"{view.timeout}s",
            "retry_policy": _RETRY,
        },
        "request_body_buffer_limit": view.max_body,
        "typed_per_filter_config": {JWT_RESOURCE: requirement, **filters},
    }


def _one_of(callers: tuple[str, ...]) -> Json:
    """All URIs of a caller's certificate together must be one of these: an SVID has just one (X509-SVID 5.2)."""
    if len(callers) == 1:
        return {"exact": callers[0]}
    return {"safe_regex": {"regex": "|".join(map(re.escape, callers))}}


def _live(conditions: list[Json]) -> Json:
    """What is asked of a verified token besides: every one of these."""
    policy = {"permissions": [{"any": True}], "principals": [{"and_ids": {"ids": conditions}}]}
    rules = {"action": "ALLOW", "policies": {"live": policy}}
    return typed_extension("extensions.filters.http.rbac.v3.RBACPerRoute", rbac={"rules": rules})


def _conditions(view: GuardView) -> list[Json]:
    """Nobody who is revoked."""
    return [*(_not(_is(SUBJECT_HEADER, subject)) for subject in view.revoked), *_without(view.revoked_agents)]


def _without(agents: tuple[str, ...]) -> list[Json]:
    """None of `agents` anywhere in the actor chain, and no chain that goes on further than a guard looks."""
    if not agents:
        return []
    chain = [actor_header(depth) for depth in range(1, LONGEST_CHAIN + 2)]
    return [*(_not(_is(each, agent)) for each in chain[:-1] for agent in agents), _not(_present(chain[-1]))]


def _is(header: str, value: str) -> Json:
    return {"header": {"name": header, "string_match": {"exact": value}}}


def _present(header: str) -> Json:
    return {"header": {"name": header, "present_match": True}}


def _not(principal: Json) -> Json:
    return {"not_id": principal}


def limit_filter(nets: tuple[Net, ...], max_identities: int) -> Json:
    """One bucket for each subject and grant; beyond `max_identities` they evict each other, which refills."""
    fields: dict[str, Any] = {"stat_prefix": "net"}
    if nets:
        fields |= {
            "filter_enabled": _ALWAYS,
            "filter_enforced": _ALWAYS,
            "token_bucket": _UNLIMITED,  # for grants that have no limit
            "always_consume_default_token_bucket": False,
            "max_dynamic_descriptors": max_identities,
            "rate_limits": [
                {"actions": [_descriptor("sub", SUBJECT_HEADER), _descriptor("grant", GRANT_HEADER)]}
            ],
            "descriptors": [_bucket(net) for net in nets],
        }
    return typed_extension("extensions.filters.http.local_ratelimit.v3.LocalRateLimit", **fields)


_ALWAYS = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}


def _descriptor(key: str, header: str) -> Json:
    return {"request_headers": {"descriptor_key": key, "header_name": header}}


def _bucket(net: Net) -> Json:
    return {
        "entries": [{"key": "sub"}, {"key": "grant", "value": net.grant}],  # no value: each subject apart
        "token_bucket": {
            "max_tokens": net.count,
            "tokens_per_fill": net.count,
            "fill_interval": f"{net.seconds}s",
        },
    }
