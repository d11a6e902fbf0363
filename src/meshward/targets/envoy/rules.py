"""What a guard lets pass: exact routes, each with its own RBAC, and the net under each grant's limit (RDS).

Without a route of its own a request meets the listener's RBAC, which has no policies and so refuses all.
"""

from __future__ import annotations

from typing import Any

from meshward.targets.envoy.projection import GuardedRoute, GuardView, Net
from meshward.targets.envoy.wire import (
    AUTHORIZATION,
    JWT,
    LAYER_HEADER,
    LIMIT,
    PAYLOAD,
    PEER_HEADER,
    RBAC,
    REASON_HEADER,
    UPSTREAM,
    Json,
    typed_extension,
)

LONGEST_CHAIN = 8  # agents; the policy's bound of `max_depth`
_SUBJECT = "(?s)[^:]+:.+"  # <issuer's name>:<stable id>; jwt_authn passes a token without any `sub`
_IDENTITY_HEADERS = (
    AUTHORIZATION, "proxy-authorization", "cookie", "forwarded", "txn-token", "remote-user",
    "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-client-cert", "x-real-ip",
)  # fmt: skip
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
        "routes": [_route(view, route) for route in view.routes],
    }
    if view.nets:
        host["typed_per_filter_config"] = {LIMIT: limit_filter(view.nets, max_identities)}
    return {
        "name": "guard",
        "virtual_hosts": [host],
        "request_headers_to_remove": _removed_headers(view),
        "response_headers_to_remove": list(_OWN_ANSWER_HEADERS),
    }


def _removed_headers(view: GuardView) -> list[str]:
    """The router takes these off last, so not the key that the guard itself has put there: see `listener`."""
    names = [*_IDENTITY_HEADERS, PEER_HEADER]
    return [name for name in names if not (view.credential and name == AUTHORIZATION)]


def _route(view: GuardView, route: GuardedRoute) -> Json:
    return {
        "match": {
            "path": route.path,
            "headers": [{"name": ":method", "string_match": {"exact": route.method}}],
        },
        "route": {
            "cluster": UPSTREAM,
            "timeout": "0s",  # else a stream ends after 15 s
            "idle_timeout": f"{view.timeout}s",
            "retry_policy": _RETRY,
        },
        "request_body_buffer_limit": view.max_body,
        "typed_per_filter_config": {
            RBAC: typed_extension(
                "extensions.filters.http.rbac.v3.RBACPerRoute", rbac=_allow(view, route.permission)
            ),
            "envoy.filters.http.buffer": typed_extension(
                "extensions.filters.http.buffer.v3.BufferPerRoute",
                buffer={"max_request_bytes": view.max_body},
            ),
        },
    }


def _allow(view: GuardView, permission: str) -> Json:
    """Caller, permission, model, scope and subject: all of them, each one exact."""
    callers = [{"authenticated": {"principal_name": {"exact": caller}}} for caller in view.callers]
    alone = [{"header": {"name": PEER_HEADER, "string_match": {"exact": caller}}} for caller in view.callers]
    everything = [
        {"or_ids": {"ids": callers}},
        {"or_ids": {"ids": alone}},
        _claim(("tctx", "perm", permission), {"exact": "1"}),
        _claim(("tctx", "model"), {"exact": view.model}),
        _claim(("scope",), {"exact": permission}),
        _claim(("sub",), {"safe_regex": {"regex": _SUBJECT}}),
        *({"not_id": _claim(("sub",), {"exact": subject})} for subject in view.revoked),
        *_without(view.revoked_agents),
    ]
    policy = {"permissions": [{"any": True}], "principals": [{"and_ids": {"ids": everything}}]}
    return {"rules": {"action": "ALLOW", "policies": {permission: policy}}}


def _without(agents: tuple[str, ...]) -> list[Json]:
    """None of `agents` anywhere in the actor chain, and no chain that goes on further than a guard looks."""
    if not agents:
        return []
    chains = [("act",) * depth for depth in range(1, LONGEST_CHAIN + 2)]
    named = [_claim((*chain, "sub"), {"exact": agent}) for chain in chains[:-1] for agent in agents]
    return [{"not_id": each} for each in [*named, _present(chains[-1])]]


def _claim(path: tuple[str, ...], match: Json) -> Json:
    """A string in the verified payload; a number, a list or an object there never matches."""
    return _metadata(path, {"string_match": match})


def _present(path: tuple[str, ...]) -> Json:
    """Anything at all in the verified payload."""
    return _metadata(path, {"present_match": True})


def _metadata(path: tuple[str, ...], value: Json) -> Json:
    keys = [{"key": key} for key in (PAYLOAD, *path)]
    return {"sourced_metadata": {"metadata_matcher": {"filter": JWT, "path": keys, "value": value}}}


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
                {"actions": [_descriptor("sub", ("sub",)), _descriptor("grant", ("tctx", "grant"))]}
            ],
            "descriptors": [_bucket(net) for net in nets],
        }
    return typed_extension("extensions.filters.http.local_ratelimit.v3.LocalRateLimit", **fields)


_ALWAYS = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}


def _descriptor(key: str, path: tuple[str, ...]) -> Json:
    keys = [{"key": each} for each in (PAYLOAD, *path)]
    return {"metadata": {"descriptor_key": key, "metadata_key": {"key": JWT, "path": keys}}}


def _bucket(net: Net) -> Json:
    return {
        "entries": [{"key": "sub"}, {"key": "grant", "value": net.grant}],  # no value: each subject apart
        "token_bucket": {
            "max_tokens": net.count,
            "tokens_per_fill": net.count,
            "fill_interval": f"{net.seconds}s",
        },
    }
