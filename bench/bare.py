"""The other side: the same nginx, mTLS and Envoy over a unix socket; identity, limits, digests and logs off.

Same TLS to the client, same keepalive and buffers, same certificates' kind, one worker each. Whatever is here is
what the chain costs without meshward. `logged`: with the access log that both write when somebody asks for no more.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.stack.running import eventually

from bench.nginx import conf, nginx
from bench.processes import accepts, running
from bench.requests import HOSTNAME
from meshward.runtime.place.components import find_components
from meshward.spiffe.ca import Authority
from meshward.spiffe.ids import SpiffeId
from meshward.targets.envoy.files import command
from meshward.testing.stand_ins import free_port

_API = "type.googleapis.com/envoy"
_MANAGER = f"{_API}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"


@dataclass(frozen=True)
class Lane:
    """One way through the bare nginx: from a port to the unix socket of a guard, whose certificate says `name`."""

    guard: Path
    name: str
    port: int


def lane(guard: Path, name: str) -> Lane:
    return Lane(guard, name, free_port())


@contextmanager
def bare_edge(
    directory: Path, authority: Authority, lanes: Sequence[Lane], logged: bool = False, asks: bool = False
) -> Iterator[int]:
    """One nginx for all `lanes`; its pid. With `asks` a client is asked for its certificate, as the edge does."""
    directory.mkdir()
    now = datetime.now(UTC)
    _secret(directory / "web.pem", authority.issue_web(HOSTNAME, now).key_and_chain().reveal())
    client = authority.issue(SpiffeId(authority.trust_domain, "/edge"), None, now)
    _secret(directory / "edge.pem", client.key_and_chain().reveal())
    (directory / "root.pem").write_text(authority.root_pem)
    log = "access_log access.log combined;" if logged else ""
    shared = _SHARED + (_ASKS if asks else "")
    text = conf(shared + "".join(_lane(number, each, log) for number, each in enumerate(lanes)))
    with nginx(directory, text, lambda: all(accepts(each.port) for each in lanes)) as process:
        yield process.pid


@contextmanager
def envoy(directory: Path, bootstrap: dict[str, Any], socket: Path) -> Iterator[int]:
    """An Envoy run as the product runs one, with a bootstrap of ours; its pid."""
    directory.mkdir(exist_ok=True)
    (directory / "guard.json").write_text(json.dumps(bootstrap))
    argv = command(str(find_components().envoy), str(directory))
    with running(argv, socket.exists, directory / "envoy.log") as process:
        eventually(lambda: (directory / "admin.sock").exists(), what="the admin socket")
        yield process.pid


def bare_guard(
    directory: Path, authority: Authority, model: Path, name: str, logged: bool = False
) -> dict[str, Any]:
    """A bootstrap: mTLS on `directory`/guard.sock, one route, `model` behind it."""
    credential = authority.issue(SpiffeId(authority.trust_domain, "/model/bare"), name, datetime.now(UTC))
    pem = {
        "certificate_chain": {"inline_string": credential.chain},
        "private_key": {"inline_string": credential.key.reveal()},
    }
    edge = {"san_type": "URI", "matcher": {"exact": f"spiffe://{authority.trust_domain}/edge"}}
    trust = {"trusted_ca": {"inline_string": authority.root_pem}, "match_typed_subject_alt_names": [edge]}
    tls = {
        "@type": f"{_API}.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        "require_client_certificate": True,
        "disable_stateless_session_resumption": True,
        "disable_stateful_session_resumption": True,
        "common_tls_context": {
            "tls_params": {
                "tls_minimum_protocol_version": "TLSv1_3",
                "tls_maximum_protocol_version": "TLSv1_3",
            },
            "tls_certificates": [pem],
            "validation_context": trust,
        },
    }
    chain = {
        "filters": [{"name": "http", "typed_config": _manager() | (_log(directory) if logged else {})}],
        "transport_socket": {"name": "tls", "typed_config": tls},
    }
    listener = {
        "name": "bare",
        "address": {"pipe": {"path": str(directory / "guard.sock"), "mode": 0o660}},
        "per_connection_buffer_limit_bytes": 65536,
        "filter_chains": [chain],
    }
    return {
        "node": {"id": "bare", "cluster": "bare"},
        "admin": {"address": {"pipe": {"path": str(directory / "admin.sock"), "mode": 0o600}}},
        "static_resources": {"listeners": [listener], "clusters": [_cluster(model)]},
    }


def _manager() -> dict[str, Any]:
    route = {"match": {"prefix": "/"}, "route": {"cluster": "model", "timeout": "0s"}}
    router = {"name": "router", "typed_config": {"@type": f"{_API}.extensions.filters.http.router.v3.Router"}}
    return {
        "@type": _MANAGER,
        "stat_prefix": "bare",
        "codec_type": "HTTP1",
        "route_config": {
            "name": "bare",
            "virtual_hosts": [{"name": "model", "domains": ["*"], "routes": [route]}],
        },
        "http_filters": [router],
        # As the product: Envoy makes no identifiers of its own. With its defaults the bare chain would cost more.
        "generate_request_id": False,
        "skip_xff_append": True,
        "common_http_protocol_options": {"idle_timeout": "600s"},
    }


def _log(directory: Path) -> dict[str, Any]:
    """Envoy's default format."""
    file = {
        "@type": f"{_API}.extensions.access_loggers.file.v3.FileAccessLog",
        "path": str(directory / "access.log"),
    }
    return {"access_log": [{"name": "file", "typed_config": file}]}


def _cluster(model: Path) -> dict[str, Any]:
    endpoint = {"endpoint": {"address": {"pipe": {"path": str(model)}}}}
    options = {
        "@type": f"{_API}.extensions.upstreams.http.v3.HttpProtocolOptions",
        "common_http_protocol_options": {"idle_timeout": "4s"},
        "explicit_http_config": {"http_protocol_options": {}},
    }
    return {
        "name": "model",
        "type": "STATIC",
        "connect_timeout": "2s",
        "per_connection_buffer_limit_bytes": 65536,
        "load_assignment": {"cluster_name": "model", "endpoints": [{"lb_endpoints": [endpoint]}]},
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options
        },
    }


def _secret(path: Path, text: str) -> None:
    path.touch(0o600)
    path.write_text(text)


_SHARED = """server_tokens off;
client_max_body_size 2m; client_body_buffer_size 2m; large_client_header_buffers 4 8k;
keepalive_timeout 75s; keepalive_requests 10000;
ssl_certificate web.pem; ssl_certificate_key web.pem; ssl_protocols TLSv1.2 TLSv1.3;
ssl_ciphers ECDHE+AESGCM:ECDHE+CHACHA20; ssl_session_tickets off; ssl_session_cache off;
proxy_http_version 1.1; proxy_redirect off;
proxy_buffering off; proxy_buffer_size 16k; proxy_buffers 4 16k; proxy_next_upstream off;
proxy_ssl_protocols TLSv1.3; proxy_ssl_session_reuse off;
proxy_ssl_certificate edge.pem; proxy_ssl_certificate_key edge.pem;
proxy_ssl_trusted_certificate root.pem; proxy_ssl_verify on; proxy_ssl_verify_depth 2; proxy_ssl_server_name on;
"""


_ASKS = "ssl_verify_client optional_no_ca; ssl_client_certificate root.pem; ssl_verify_depth 2;\n"


def _lane(number: int, each: Lane, log: str) -> str:
    upstream = f"lane{number}"
    return f"""
upstream {upstream} {{
    server unix:{each.guard};
    keepalive 16; keepalive_requests 100000; keepalive_time 120s; keepalive_timeout 60s;
}}
server {{
    listen 127.0.0.1:{each.port} ssl; {log}
    location /m/mock/ {{
        proxy_pass https://{upstream}/;
        proxy_set_header Host {each.name};
        proxy_set_header Connection "";
        proxy_ssl_name {each.name};
    }}
}}"""
