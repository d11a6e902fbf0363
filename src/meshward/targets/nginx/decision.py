"""How the edge asks: a question to the decision service, and a limit on them."""

from __future__ import annotations

from meshward.kit.reasons import Reason
from meshward.kit.wellknown import METADATA, WHOAMI
from meshward.targets.nginx import gate
from meshward.targets.nginx.emit import Directive, Variable, block, join_values, refuse_if, simple
from meshward.targets.nginx.settings import EdgeSettings
from meshward.targets.nginx.wire import QUESTION, Header

_IGNORED = ("Vary", "Set-Cookie", "Expires", "Cache-Control")
_ACCEL = ("X-Accel-Expires", "X-Accel-Redirect", "X-Accel-Limit-Rate", "X-Accel-Buffering", "X-Accel-Charset")


def upstreams(s: EdgeSettings) -> list[Directive]:
    return [
        simple("limit_req_zone", Variable(Header.NET.received), "zone=mw_cold:4m", f"rate={s.cold_rate}"),
        simple("limit_req_zone", Variable("mw_from"), "zone=mw_metadata:1m", "rate=20r/s"),
        simple("limit_req_zone", Variable("mw_from"), "zone=mw_whoami:1m", "rate=2r/s"),
        _upstream("mw_cold", s.cold_socket, idle="60s"),
        _upstream("mw_decide", s.decision_socket, idle="4s"),  # less than a Python server keeps a connection
    ]


def _upstream(name: str, socket: str, idle: str) -> Directive:
    server = simple("server", f"unix:{socket}")
    return block(
        "upstream", name, inside=[server, simple("keepalive", "16"), simple("keepalive_timeout", idle)]
    )


def location() -> Directive:
    """Asked by lua/decisions.lua alone, which remembers the answer. Whoever leaves, it is answered: others wait."""
    return block(
        "location",
        "=",
        "/_decide",
        inside=[
            simple("internal"),
            simple("proxy_pass", "http://mw_cold/decide"),
            *_plain_request(),
            *(simple("proxy_set_header", name, Variable(value)) for name, value in QUESTION.items()),
            simple("proxy_set_header", Header.NET, Variable("mw_net")),
            simple("proxy_next_upstream", "off"),
            simple("proxy_read_timeout", "3s"),
            simple("proxy_ignore_client_abort", "on"),
            simple("proxy_ignore_headers", *_IGNORED, *_ACCEL),
        ],
    )


def _plain_request() -> list[Directive]:
    """A GET with only the headers that are set here and after: nothing of the client's by itself."""
    constant = {"Host": "decide", "Connection": "", "Content-Length": ""}
    return [
        simple("proxy_method", "GET"),
        simple("proxy_http_version", "1.1"),
        simple("proxy_pass_request_body", "off"),
        simple("proxy_pass_request_headers", "off"),
        *(simple("proxy_set_header", name, value) for name, value in constant.items()),
        simple("proxy_connect_timeout", "1s"),
        simple("proxy_buffer_size", "16k"),
        simple("proxy_buffers", "4", "16k"),
    ]


def cold_server(s: EdgeSettings) -> Directive:
    """Only questions come here, limited per address: a request has one limit pass, and the identity's needs it."""
    limited = {
        Header.STATUS: "429",
        Header.REASON: Reason.COLD_RATE_LIMITED,
        Header.MESSAGE: "Too many new requests from your address. Wait a second, then try again.",
    }
    refusal = [*(simple("add_header", name, value, "always") for name, value in limited.items())]
    return block(
        "server",
        inside=[
            simple("listen", f"unix:{s.cold_socket}"),
            simple("access_log", "off"),
            # Only `GET /decide` is seen here, no client's line: what ails the decision service may be told.
            simple("error_log", "stderr", "warn"),
            simple("large_client_header_buffers", "4", "16k"),
            block("location", "=", "/decide", inside=_cold_question(s)),
            # For us alone: which generation of certificates the page names, as a worker reads it.
            block(
                "location",
                "=",
                "/generation",
                inside=[
                    simple("set_by_lua_file", Variable("mw_shown"), s.phase("generation")),
                    simple("return", "200", Variable("mw_shown")),
                ],
            ),
            block("location", "@limited", inside=[*refusal, simple("return", "403")]),
            block("location", "/", inside=[simple("return", "404")]),
        ],
    )


def _cold_question(s: EdgeSettings) -> list[Directive]:
    return [
        simple("limit_req", "zone=mw_cold", f"burst={s.cold_burst}", "nodelay"),
        simple("limit_req_log_level", "info"),  # below what is written: a flood must not fill the disk
        simple("error_page", "429", "=", "@limited"),
        simple("proxy_pass", "http://mw_decide/decide"),
        *_plain_request(),
        *(simple("proxy_set_header", asked, Variable(asked.received)) for asked in QUESTION),
        simple("proxy_ignore_headers", *_IGNORED, *_ACCEL),
        simple("proxy_read_timeout", "2s"),
        # A pooled connection that a restarted service left is tried once more: a question changes nothing.
        simple("proxy_next_upstream", "error"),
    ]


def counted_by_address(s: EdgeSettings) -> Directive:
    """Before a limit per address: whom the address counts as."""
    return simple("set_by_lua_file", Variable("mw_from"), s.phase("net"))


def metadata(s: EdgeSettings) -> list[Directive]:
    """RFC 9728: where to get a token for what. For everybody, so limited per address."""
    inside = [
        counted_by_address(s),
        *gate.refusals(),
        refuse_if("mw_method", "!=", "GET", 405),
        simple("limit_req", "zone=mw_metadata", "burst=40", "nodelay"),
        simple("proxy_pass", join_values("http://mw_decide", Variable("uri"))),
        *_plain_request(),
        simple("proxy_next_upstream", "error"),
        simple("proxy_read_timeout", "2s"),
        simple("proxy_intercept_errors", "on"),
        simple("proxy_max_temp_file_size", "0"),
        simple("proxy_ignore_headers", *_IGNORED, *_ACCEL),
    ]
    return [
        block("location", "=", METADATA, inside=inside),
        block("location", "^~", f"{METADATA}/m/", inside=inside),
    ]


def whoami(s: EdgeSettings) -> Directive:
    """Who the bearer is to us, in the service's own words. Never cached, never in a file; limited per address.

    It asks as for a decision, but about no model; the path says that this is no decision.
    """
    question: dict[str, str | Variable] = {
        Header.AUTHORIZATION: Variable("http_authorization"),
        Header.METHOD: "GET",
        Header.PATH: "/",
        Header.FRONT: "m",
        Header.ADDR: Variable("remote_addr"),
        Header.RID: Variable("request_id"),
    }
    inside = [
        counted_by_address(s),
        *gate.refusals(),
        refuse_if("mw_method", "!=", "GET", 405),
        simple("limit_req", "zone=mw_whoami", "burst=10", "nodelay"),
        simple("proxy_pass", join_values("http://mw_decide", Variable("uri"))),
        *_plain_request(),
        *(simple("proxy_set_header", name, value) for name, value in question.items()),
        simple("proxy_next_upstream", "error"),
        simple("proxy_read_timeout", "5s"),
        simple("proxy_max_temp_file_size", "0"),
        simple("proxy_ignore_headers", *_IGNORED, *_ACCEL),
    ]
    return block("location", "=", WHOAMI, inside=inside)
