"""How the edge goes on: to a guard on this machine or another one by mutual TLS, or to a service through the edge's own
sidecar; prepared slots, pools and rates, headers by allow-list only.
"""

from __future__ import annotations

from meshward.targets.nginx.emit import (
    Directive,
    Joined,
    Key,
    Variable,
    block,
    exact,
    join_values,
    mapping,
    simple,
)
from meshward.targets.nginx.gate import PRINTABLE
from meshward.targets.nginx.settings import EdgeSettings
from meshward.targets.nginx.wire import Header, rate_count

_LATER = 5  # seconds for which a guard, that knows its model's own limit of silence, is the first to say so
_TRACEPARENT = r"^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}\z"

# Of the client's headers, only these, and only while printable ASCII; the rest never leaves the edge.
_PASSED = {
    "Content-Type": ("content_type", PRINTABLE),
    "Accept": ("http_accept", PRINTABLE),
    "User-Agent": ("http_user_agent", PRINTABLE),
    "traceparent": ("http_traceparent", _TRACEPARENT),
}

# Hidden of the model's answer: what speaks for the edge, for an identity, or to a browser about this origin.
_HIDDEN = (
    *("X-Request-Id", "WWW-Authenticate", "Proxy-Authenticate", "Authentication-Info", "Txn-Token"),
    *("Set-Cookie", "Set-Cookie2", "Alt-Svc", "Clear-Site-Data", "Strict-Transport-Security", "Via"),
    *("X-Envoy-Upstream-Service-Time", "X-Envoy-Attempt-Count", "X-Envoy-Overloaded", "X-Envoy-Ratelimited"),
    *("X-Envoy-Decorator-Operation", "X-Envoy-Original-Path", "X-Envoy-Immediate-Health-Check-Fail"),
    *("X-Envoy-Peer-Metadata", "X-Envoy-Peer-Metadata-Id"),
    *Header,
    *("X-Error-Message", "X-Counted-As"),
    *("Refresh", "NEL", "Report-To", "Reporting-Endpoints", "Service-Worker-Allowed"),
    *("Accept-CH", "Critical-CH"),
    *("Access-Control-Allow-Origin", "Access-Control-Allow-Credentials"),
)
_IGNORED = (
    *("X-Accel-Redirect", "X-Accel-Expires", "X-Accel-Limit-Rate", "X-Accel-Buffering", "X-Accel-Charset"),
    *("Expires", "Cache-Control", "Set-Cookie", "Vary"),
)


_POOL = (
    simple("keepalive", "16"),
    simple("keepalive_requests", "100000"),
    simple("keepalive_time", "120s"),  # a pooled connection keeps the certificate that opened it
    simple("keepalive_timeout", "60s"),
)


def slots(s: EdgeSettings) -> list[Directive]:
    """One upstream per slot, used or not: a socket need not exist until a decision names its slot."""
    return [
        block("upstream", f"slot{slot:02d}", inside=[simple("server", f"unix:{s.guard_path(slot)}"), *_POOL])
        for slot in range(s.slots)
    ]


def elsewhere(s: EdgeSettings) -> list[Directive]:
    """Upstreams without an address of their own: a request's decision tells it (`lua/peer.lua`).

    `mw_far..`: guards elsewhere, each for one name (`lua/pools.lua`); `mw_far`: for any, without a pool. `mw_near`: the
    edge's sidecar, whose plain connections are verified for no name.
    """
    pools = {**{f"mw_far{pool:02d}": _POOL for pool in range(s.pools)}, "mw_near": _POOL, "mw_far": ()}
    told = [simple("server", "0.0.0.1"), simple("balancer_by_lua_file", s.phase("peer"))]
    return [block("upstream", name, inside=[*told, *pool]) for name, pool in pools.items()]


def limits(s: EdgeSettings) -> list[Directive]:
    """One zone per rate. A request counts in its decision's; in the others its key is empty."""
    rates = sorted(set(s.rates))
    return [
        simple("limit_req_status", "429"),
        *(directive for rate in rates for directive in _zone(rate)),
    ]


def _zone(rate: str) -> list[Directive]:
    counted = f"mw_count_{_short(rate)}"
    return [
        mapping(Variable("mw_d_limit"), counted, "", (Key(rate), Variable("mw_bucket"))),
        simple("limit_req_zone", Variable(counted), f"zone=mw_{_short(rate)}:1m", f"rate={rate}"),
    ]


def _short(rate: str) -> str:
    return rate.replace("r/", "")


def _limit(rate: str) -> Directive:
    """A token bucket of `n`: a burst of n at once, then at the rate."""
    n = rate_count(rate)
    burst = [f"burst={n - 1}"] if n > 1 else []
    return simple("limit_req", f"zone=mw_{_short(rate)}", *burst, "nodelay")


def judges() -> list[Directive]:
    """Maps that prove what the client sent, before any of it goes upstream."""
    return [exact(source, f"mw_{source}", pattern) for source, pattern in _PASSED.values()]


def location(s: EdgeSettings, front: str) -> Directive:
    """Below `front`, behind the permit. A model can neither redirect inside the edge nor speak for it.

    `$mw_upstream` is the scheme and one of the upstreams of this file, never an address.
    """
    return block(
        "location",
        "^~",
        front,
        inside=[
            simple("rewrite_by_lua_file", s.phase("request")),
            *(_limit(rate) for rate in sorted(set(s.rates))),
            simple("proxy_pass", join_values(Variable("mw_upstream"), Variable("mw_target"))),
            simple("proxy_http_version", "1.1"),
            *_headers(),
            *_mutual_tls(s),
            simple("proxy_next_upstream", "off"),
            simple("proxy_connect_timeout", "2s"),
            simple("proxy_send_timeout", "30s"),
            simple("proxy_read_timeout", f"{s.longest_timeout + _LATER}s"),
            simple("proxy_buffering", "off"),
            simple("proxy_buffer_size", "16k"),
            simple("proxy_buffers", "4", "16k"),
            simple("proxy_redirect", "off"),
            simple("body_filter_by_lua_file", s.phase("answer")),
            simple("proxy_ignore_headers", *_IGNORED),
            *(simple("proxy_hide_header", name) for name in _HIDDEN),
        ],
    )


def _headers() -> list[Directive]:
    own: dict[str, str | Variable | Joined] = {
        "Host": Variable("mw_host"),
        "Connection": "",
        "Txn-Token": Variable("mw_d_txn"),
        "X-Request-Id": Variable("request_id"),
        "Content-Digest": join_values("sha-256=:", Variable("mw_reqd"), ":"),
        "Accept-Encoding": "identity",
    }
    return [
        simple("proxy_pass_request_headers", "off"),
        *(simple("proxy_set_header", name, value) for name, value in own.items()),
        *(
            simple("proxy_set_header", name, Variable(f"mw_{source}"))
            for name, (source, _) in _PASSED.items()
        ),
    ]


def _mutual_tls(s: EdgeSettings) -> list[Directive]:
    file = join_values(f"{s.given}/certs/edge.", Variable("mw_generation"), ".pem")
    return [
        simple("proxy_ssl_protocols", "TLSv1.3"),  # nginx' default has none
        simple("proxy_ssl_session_reuse", "off"),  # a resumed session presents the old certificate
        simple("proxy_ssl_certificate", file),
        simple("proxy_ssl_certificate_key", file),
        simple("proxy_ssl_trusted_certificate", s.root_bundle),
        simple("proxy_ssl_verify", "on"),
        simple("proxy_ssl_verify_depth", "2"),
        simple("proxy_ssl_name", Variable("mw_sni")),
        simple("proxy_ssl_server_name", "on"),
    ]
