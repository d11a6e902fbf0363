"""The edge as a fixed program for stock nginx: no rule of a policy is compiled into it.

A request's way through it: lua/request.lua (gate, decision, body, version; asks /_decide where it remembers none)
-> limits -> mTLS to the guard, or the edge's own sidecar (lua/place.lua) -> lua/answer.lua. A refusal at any step ends
in /_err/<status>.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from meshward.targets.nginx import control, decision, gate, guard
from meshward.targets.nginx.emit import (
    Directive,
    Variable,
    block,
    join_values,
    mapping,
    refuse_if,
    settable,
    simple,
    text,
)
from meshward.targets.nginx.log import access_log
from meshward.targets.nginx.lua_settings import lua_settings
from meshward.targets.nginx.settings import EdgeSettings

# Statuses that clients get; 503 is what is left.
_ANSWERS = (400, 401, 403, 404, 405, 408, 413, 414, 415, 421, 429, 431, 501, 502, 504)
# What nginx refuses by itself, or makes of an upstream's silence. 430: too many from one address; 494: headers too
# large; 495: a client certificate that cannot be verified; 497: plain HTTP; 505: another version of HTTP.
_REFUSALS = tuple(sorted({*_ANSWERS, 430, 494, 495, 497, 500, 503, 505} - {431}))
# Places where nothing is served. Of a front without its slash nginx would make a redirect.
_NOTHING = (("=", "/m"), ("=", "/v1"), ("/",))

# What Lua tells nginx, for the guard, the limits, the log and the refusals.
_TOLD = (
    *("mw_net", "mw_front", "mw_model", "mw_path", "mw_cache", "mw_facts", "mw_generation"),
    *(
        "mw_target",
        "mw_upstream",
        "mw_host",
        "mw_place",
        "mw_sni",
        "mw_d_txn",
        "mw_d_limit",
        "mw_bucket",
        "mw_reqd",
        "mw_bytes_in",
    ),
    *("mw_last", "mw_resd", "mw_reason", "mw_layer", "mw_message", "mw_challenge", "mw_retry", "mw_codings"),
    *("mw_body", "mw_counted"),
)


def render(settings: EdgeSettings, lua: Mapping[str, str]) -> Mapping[str, bytes]:
    """The files of the edge's program, by name, for `settings.given`. Equal settings give equal bytes.

    `lua` are the texts of the modules in `lua/` beside this one, by name.
    """
    modules = {**lua, "settings.lua": lua_settings(settings)}
    return MappingProxyType(
        {
            "nginx.conf": text(_main(settings)).encode(),
            **{f"lua/{name}": content.encode() for name, content in modules.items()},
        }
    )


def _main(s: EdgeSettings) -> list[Directive]:
    return [
        *(simple("load_module", module) for module in s.lua_modules),
        simple("daemon", "off"),
        simple("worker_processes", str(s.workers)),
        simple("worker_rlimit_core", "0"),
        simple("worker_shutdown_timeout", f"{s.longest_timeout}s"),
        simple("pcre_jit", "on"),
        simple("pid", f"{s.run_dir}/pid"),
        simple("error_log", "stderr", "warn"),  # the part's own log, which the supervisor keeps small
        block("events", inside=[simple("worker_connections", "16384")]),
        block("http", inside=http_directives(s)),
    ]


def http_directives(s: EdgeSettings) -> list[Directive]:
    """What stands in the `http` block; the last two are the servers, that of clients first."""
    return [
        # A message about a request repeats its line, query and all: none is written, at any level.
        simple("error_log", "/dev/null", "emerg"),
        *_lua(s),
        *_temporary_files(s),
        *_hygiene(s),
        *(settable(name) for name in _TOLD),
        # nginx has a place for a variable only if its file reads it. This does, of all; nobody asks for it.
        mapping(join_values(*map(Variable, _TOLD)), "mw_told", ""),
        *gate.judges(s),
        *guard.judges(),
        *access_log(s),
        *decision.upstreams(s),
        *control.upstream(s),
        *guard.limits(s),
        *guard.slots(s),
        *guard.elsewhere(s),
        _server(s),
        decision.cold_server(s),
    ]


def _lua(s: EdgeSettings) -> list[Directive]:
    """Ours before all others, and no other place: Lua's own path begins with the working directory."""
    return [
        simple("lua_package_path", f"{s.given}/lua/?.lua;{s.lua_path}"),
        simple("lua_package_cpath", f"{s.given}/lua/?.so"),
        simple("init_by_lua_file", s.phase("start")),
        simple("init_worker_by_lua_file", s.phase("worker")),
        simple("exit_worker_by_lua_file", s.phase("leave")),
    ]


def _temporary_files(s: EdgeSettings) -> list[Directive]:
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    return [simple(f"{kind}_temp_path", f"{s.run_dir}/{kind}_temp") for kind in kinds]


def _hygiene(s: EdgeSettings) -> list[Directive]:
    return [
        simple("server_tokens", "off"),
        simple("merge_slashes", "off"),
        simple("underscores_in_headers", "off"),
        simple("ignore_invalid_headers", "on"),
        simple("gzip", "off"),
        simple("absolute_redirect", "off"),
        simple("map_hash_bucket_size", "512"),
        simple("variables_hash_max_size", "2048"),
        simple("client_header_timeout", "10s"),
        simple("client_body_timeout", "30s"),
        simple("send_timeout", "60s"),
        simple("reset_timedout_connection", "on"),
        simple("keepalive_timeout", "75s"),
        simple("keepalive_requests", "10000"),
        # A worker told to end closes idle connections at once, and a request on its way there is lost, unless:
        *([simple("keepalive_min_timeout", "10s")] if s.keepalive_min_timeout else []),
        simple("large_client_header_buffers", "4", "8k"),
        # Room for the largest body, and for the lines between its chunks: what nginx puts into a file is refused.
        simple("client_max_body_size", str(s.max_body)),
        simple("client_body_buffer_size", str(s.max_body + s.max_body // 8 + 16384)),
        *([simple("max_headers", "100")] if s.max_headers else []),
    ]


def _server(s: EdgeSettings) -> Directive:
    """The only server, so that whatever host or SNI a client names is answered by its gate."""
    host = f"[{s.listen_host}]" if ":" in s.listen_host else s.listen_host
    return block(
        "server",
        inside=[
            simple("listen", f"{host}:{s.listen_port}", "ssl", "default_server"),
            *_tls(s),
            simple("log_by_lua_file", s.phase("ended")),
            simple("add_header", "X-Request-Id", Variable("request_id"), "always"),
            *(simple("error_page", str(code), "=", f"/_err/{code}") for code in _REFUSALS),
            _errors(s),
            decision.location(),
            *decision.metadata(s),
            decision.whoami(s),
            control.location(s),
            guard.location(s, "/m/"),
            guard.location(s, "/v1/"),
            *(
                block("location", *place, inside=[*gate.refusals(), simple("return", "404")])
                for place in _NOTHING
            ),
        ],
    )


def _tls(s: EdgeSettings) -> list[Directive]:
    return [
        # nginx wants one in its file. Nobody is shown it: it vouches for nothing, and ended before it began.
        simple("ssl_certificate", s.placeholder),
        simple("ssl_certificate_key", s.placeholder),
        simple("ssl_certificate_by_lua_file", s.phase("handshake")),
        simple("ssl_protocols", "TLSv1.2", "TLSv1.3"),
        simple("ssl_ciphers", "ECDHE+AESGCM:ECDHE+CHACHA20"),
        # No session outlives the certificate that opened it.
        simple("ssl_session_tickets", "off"),
        simple("ssl_session_cache", "off"),
        # A workload's SVID. Of another authority's certificate the gate tells; nginx alone would say 400 in HTML.
        simple("ssl_verify_client", "optional_no_ca"),
        simple("ssl_client_certificate", s.root_bundle),
        simple("ssl_verify_depth", "2"),
    ]


def _errors(s: EdgeSettings) -> Directive:
    """Never a proxy. `return`, which throws a refused body away: content made in Lua might leave it."""
    headers = {
        "X-Error-Message": "mw_message",
        "WWW-Authenticate": "mw_challenge",
        "Retry-After": "mw_retry",
        "Accept-Encoding": "mw_codings",
        "X-Counted-As": "mw_counted",
        "X-Request-Id": "request_id",
    }
    body = Variable("mw_body")
    return block(
        "location",
        "^~",
        "/_err/",
        inside=[
            simple("internal"),
            simple("default_type", "application/json"),
            simple("set_by_lua_file", Variable("mw_refused"), s.phase("refusal")),
            *(simple("add_header", name, Variable(value), "always") for name, value in headers.items()),
            *(refuse_if("mw_refused", "=", str(status), status, body) for status in _ANSWERS),
            simple("return", "503", body),
        ],
    )
