"""A guard's only door: mTLS on a unix socket, or at a port where the edge is elsewhere. Then come
route, token, rules, net, body size, model server.

The listener never changes while it runs (a changed one cuts open streams); what changes comes by file.
`PartSource` says where from, so that the same listener can be judged with everything inline: `--mode validate`
reads no watched file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from meshward.kit import codes
from meshward.kit.errors import MeshwardError
from meshward.kit.names import NAME
from meshward.targets.envoy.answers import access_log, local_replies
from meshward.targets.envoy.projection import GuardView
from meshward.targets.envoy.rules import limit_filter
from meshward.targets.envoy.wire import (
    BUFFER,
    GRANT_HEADER,
    JWT_RESOURCE,
    LIMIT,
    ONE_GRANT,
    PEER_STATE,
    RBAC,
    SOCKET_BYTES,
    WHO,
    WHO_STATE,
    Json,
    typed_extension,
)


@dataclass(frozen=True, slots=True)
class GuardSettings:
    """How a guard runs on its machine. Directories are absolute; seconds."""

    directory: str  # its own: log and sockets
    given_dir: str = ""  # what it only reads; empty: that lies in `directory`
    max_connection_seconds: int = 300  # how long an open connection may outlive its certificate
    max_connections: int = 4096
    token_cache: int = 4096  # live Transaction Tokens; more in turn than this and none is ever found
    max_identities: int = 10_000  # counted apart in the net; beyond it the oldest starts afresh
    listen: tuple[str, int] | None = None  # IP address and port, away from the edge; None: its socket

    def __post_init__(self) -> None:
        if not self.directory.startswith("/") or len(self.admin_socket.encode()) > SOCKET_BYTES:
            raise MeshwardError(
                codes.NO_SOCKET_FITS,
                f"no socket fits in `{self.directory}`: relative, or over {SOCKET_BYTES} bytes with its name",
            )

    @property
    def socket(self) -> str:
        return f"{self.directory}/guard.sock"

    @property
    def admin_socket(self) -> str:
        return f"{self.directory}/admin.sock"

    @property
    def access_log(self) -> str:
        return f"{self.directory}/access.log"

    @property
    def xds(self) -> str:
        return f"{self.given}/xds"

    @property
    def given(self) -> str:
        return self.given_dir or self.directory


@dataclass(frozen=True, slots=True)
class PartSource:
    """Where the listener's changing parts come from: files, or (for the twin) inline. Parts of messages."""

    routes: Json  # of HttpConnectionManager
    token: Json  # of the jwt_authn HttpFilter
    tls: Json  # of CommonTlsContext: certificate, trust, and which SPIFFE IDs may call
    credential: Json  # an SdsSecretConfig; used only by a guard that sends a key


def listener(view: GuardView, settings: GuardSettings, source: PartSource, log: str) -> Json:
    """The listener, whole; `log` is the access log's path."""
    manager = {
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": _connection_manager(view, settings, source, log),
    }
    return {
        "name": "guard",
        "address": _address(settings),
        "per_connection_buffer_limit_bytes": 65536,
        "filter_chains": [{"filters": [_remember_peer(), manager], "transport_socket": _tls(source)}],
    }


def _address(settings: GuardSettings) -> Json:
    if settings.listen is None:
        return {"pipe": {"path": settings.socket, "mode": 0o660}}
    host, port = settings.listen
    return {"socket_address": {"address": host, "port_value": port}}


def callers_only(view: GuardView) -> Json:
    """The part of a validation context that names who may connect: one exact URI each."""
    names = [{"san_type": "URI", "matcher": {"exact": caller}} for caller in view.callers]
    return {"match_typed_subject_alt_names": names}


def _tls(source: PartSource) -> Json:
    context = typed_extension(
        "extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        require_client_certificate=True,
        disable_stateless_session_resumption=True,  # a ticket would outlive the certificate behind it
        disable_stateful_session_resumption=True,
        common_tls_context={
            "tls_params": {
                "tls_minimum_protocol_version": "TLSv1_3",
                "tls_maximum_protocol_version": "TLSv1_3",
            },
            **source.tls,
        },
    )
    return {"name": "envoy.transport_sockets.tls", "typed_config": context}


def _connection_manager(view: GuardView, settings: GuardSettings, source: PartSource, log: str) -> Json:
    return typed_extension(
        "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="guard",
        codec_type="HTTP1",
        **source.routes,
        http_filters=_filters(view, source),
        access_log=[access_log(view, log)],
        local_reply_config=local_replies(),
        **_STRICT,
        **_HEADERS,
        common_http_protocol_options={
            "headers_with_underscores_action": "REJECT_REQUEST",
            "max_headers_count": 64,
            "idle_timeout": "600s",  # longer than the edge keeps one: a POST must not meet a close
            "max_connection_duration": f"{settings.max_connection_seconds}s",
        },
        http1_safe_max_connection_duration=True,  # says Connection: close in an answer, cuts nothing
        max_request_headers_kb=32,
        request_headers_timeout="10s",
        stream_idle_timeout="60s",
    )


_STRICT: dict[str, Any] = {
    "normalize_path": False,  # true rewrites /a/../embed and serves it
    "merge_slashes": False,
    "path_with_escaped_slashes_action": "REJECT_REQUEST",
    "http_protocol_options": {"allow_absolute_url": False},
    "stream_error_on_invalid_http_message": True,
}
# What names a caller, and all that begins with ours: taken off on arrival, in one pass. The codec writes names small.
_TAKEN_OFF = "|".join(
    (
        "x-(envoy|mw|meshward|forwarded)-.*",
        "(proxy-)?authorization",
        "cookie",
        "forwarded",
        "remote-user",
        "x-real-ip",
    )
)


# The model gets what the edge sent, less what names a caller; nothing of Envoy's own.
_HEADERS: dict[str, Any] = {
    "use_remote_address": False,
    "skip_xff_append": True,
    "generate_request_id": False,
    "preserve_external_request_id": True,
    "forward_client_cert_details": "SANITIZE",
    "server_header_transformation": "PASS_THROUGH",
    "early_header_mutation_extensions": [
        {
            "name": "envoy.http.early_header_mutation.header_mutation",
            "typed_config": typed_extension(
                "extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation",
                mutations=[{"remove_on_match": {"key_matcher": {"safe_regex": {"regex": _TAKEN_OFF}}}}],
            ),
        }
    ],
}


def _filters(view: GuardView, source: PartSource) -> list[Json]:
    """In the order that a request meets them: no claims before the token; what is refused is not counted.

    One that is `disabled` runs where the rules have a part for it, and costs nothing elsewhere.
    """
    buffer = typed_extension("extensions.filters.http.buffer.v3.Buffer", max_request_bytes=1)
    return [
        {"name": JWT_RESOURCE, **source.token},
        {"name": ONE_GRANT, "typed_config": _demand_one_grant()},
        {"name": "envoy.filters.http.set_filter_state", "typed_config": _remember_who()},
        {"name": RBAC, "disabled": True, "typed_config": _refuse_all()},
        {"name": LIMIT, "disabled": True, "typed_config": limit_filter((), 0)},
        {"name": BUFFER, "disabled": True, "typed_config": buffer},
        *([_send_key(source)] if view.credential else ()),
        {
            "name": "envoy.filters.http.router",
            "typed_config": typed_extension(
                "extensions.filters.http.router.v3.Router", suppress_envoy_headers=True
            ),
        },
    ]


def _demand_one_grant() -> Json:
    """A net counts by the grant: without one it would, silently, be no limit. Two tokens give two, which is none.

    RBAC alone says the same for eight times the price: it writes down what it decided.
    """
    header = typed_extension("type.matcher.v3.HttpRequestHeaderMatchInput", header_name=GRANT_HEADER)
    is_name = {
        "input": {"name": "grant", "typed_config": header},
        "value_match": {"safe_regex": {"google_re2": {}, "regex": NAME}},
    }
    skip = typed_extension("extensions.filters.common.matcher.action.v3.SkipFilter")
    matcher = {
        "predicate": {"single_predicate": is_name},
        "on_match": {"action": {"name": "skip", "typed_config": skip}},
    }
    return typed_extension(
        "extensions.common.matching.v3.ExtensionWithMatcher",
        xds_matcher={"matcher_list": {"matchers": [matcher]}},
        extension_config={"name": RBAC, "typed_config": _refuse_all()},
    )


def _remember_peer() -> Json:
    """Once for each connection. TLS is content if one URI of a certificate fits; the rules want just one."""
    return {
        "name": "envoy.filters.network.set_filter_state",
        "typed_config": typed_extension(
            "extensions.filters.network.set_filter_state.v3.Config",
            on_downstream_tls_handshake=[_remember(PEER_STATE, "%DOWNSTREAM_PEER_URI_SAN%")],
        ),
    }


def _remember_who() -> Json:
    """For the log: the router takes the claims' headers off before a line is written."""
    return typed_extension(
        "extensions.filters.http.set_filter_state.v3.Config", on_request_headers=[_remember(WHO_STATE, WHO)]
    )


def _remember(name: str, text: str) -> Json:
    return {
        "object_key": name,
        "factory_key": "envoy.string",
        "format_string": {"text_format_source": {"inline_string": text}},
    }


def _send_key(source: PartSource) -> Json:
    """What has passed everything gets the server's key. Without one at hand it is refused, never sent as it is."""
    generic = typed_extension(
        "extensions.http.injected_credentials.generic.v3.Generic", credential=source.credential
    )
    injector = typed_extension(
        "extensions.filters.http.credential_injector.v3.CredentialInjector",
        overwrite=True,
        allow_request_without_credential=False,
        credential={"name": "envoy.http.injected_credentials.generic", "typed_config": generic},
    )
    return {"name": "envoy.filters.http.credential_injector", "typed_config": injector}


def _refuse_all() -> Json:
    return typed_extension("extensions.filters.http.rbac.v3.RBAC", rules={"action": "ALLOW", "policies": {}})
