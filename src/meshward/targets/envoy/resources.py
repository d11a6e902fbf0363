"""The watched files of a guard: rules, servers, token keys, its SVID, the trust bundle, and maybe a server's key.

Each carries the digest of its content as its version: a guard that reports the digest runs the content.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from meshward.kit import codes
from meshward.kit.canonical import digest
from meshward.kit.errors import MeshwardError
from meshward.kit.secret import Secret
from meshward.targets.envoy.projection import GuardView
from meshward.targets.envoy.replicas import health_checks, load_balancing
from meshward.targets.envoy.rules import route_configuration
from meshward.targets.envoy.wire import (
    CREDENTIAL,
    SOCKET_BYTES,
    UPSTREAM,
    Json,
    typed_extension,
)

RULES = "rds"
SERVER = "cds"
TOKEN_KEYS = "ecds-jwt"  # noqa: S105 - a file's name
SVID = "svid"
BUNDLE = "bundle"
NAMES = (RULES, SERVER, TOKEN_KEYS, SVID, BUNDLE)  # of every guard; some have CREDENTIAL besides


def rules(view: GuardView, max_identities: int) -> Json:
    """The rules as a resource."""
    return typed_extension("config.route.v3.RouteConfiguration", **route_configuration(view, max_identities))


def server(view: GuardView) -> Json:
    """The model servers, one endpoint each. Raises MeshwardError for a URL that no guard can reach."""
    endpoints = [{"endpoint": {"address": _address(url)}} for url in view.upstreams]
    return typed_extension(
        "config.cluster.v3.Cluster",
        name=UPSTREAM,
        type="STATIC",
        connect_timeout="2s",
        per_connection_buffer_limit_bytes=65536,
        load_assignment={"cluster_name": UPSTREAM, "endpoints": [{"lb_endpoints": endpoints}]},
        typed_extension_protocol_options={_UPSTREAM_HTTP: _UPSTREAM_OPTIONS},
        **(load_balancing() if view.replicas else {}),
        **(health_checks(view) if view.health is not None else {}),
    )


_UPSTREAM_HTTP = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_UPSTREAM_OPTIONS = typed_extension(
    "extensions.upstreams.http.v3.HttpProtocolOptions",
    # uvicorn closes an idle connection after 5 s, and a POST that meets that close is lost: be first.
    common_http_protocol_options={"idle_timeout": "4s"},
    explicit_http_config={"http_protocol_options": {}},
)


def _address(url: str) -> Json:
    if url.startswith("unix:/") and len(url) <= len("unix:") + SOCKET_BYTES:
        return {"pipe": {"path": url.removeprefix("unix:")}}
    if (match := _IP_URL.fullmatch(url)) and 0 < int(match["port"]) < 65536:
        return {"socket_address": {"address": _ip(match["host"], url), "port_value": int(match["port"])}}
    raise _unreachable_error(url)


_IP_URL = re.compile(
    r"http://(?P<host>localhost|[0-9.]+|\[[0-9a-fA-F:.]+\]):(?P<port>[0-9]{1,5})/?", re.ASCII
)


def _ip(host: str, url: str) -> str:
    try:
        return str(ipaddress.ip_address("127.0.0.1" if host == "localhost" else host.strip("[]")))
    except ValueError:
        raise _unreachable_error(url) from None


def _unreachable_error(url: str) -> MeshwardError:
    return MeshwardError(
        codes.SERVER_NOT_PLAIN_HTTP,
        f"the guard cannot reach `{url}`: it speaks plain HTTP to a unix socket or to an IP address and port",
    )


def svid(chain: str, key: Secret) -> Json:
    """The guard's certificate chain (leaf first) and private key, PEM."""
    certificate = {
        "certificate_chain": {"inline_string": chain},
        "private_key": {"inline_string": key.reveal()},
    }
    return _secret(SVID, tls_certificate=certificate)


def bundle(roots: str) -> Json:
    """The trust domain's root certificates, PEM."""
    return _secret(BUNDLE, validation_context={"trusted_ca": {"inline_string": roots}})


def svid_from(directory: str) -> Json:
    """As `svid`, read by the guard itself: chain.pem and key.pem of `directory`, anew whenever it is renamed into."""
    certificate = {
        "certificate_chain": {"filename": f"{directory}/chain.pem"},
        "private_key": {"filename": f"{directory}/key.pem"},
        "watched_directory": {"path": directory},
    }
    return _secret(SVID, tls_certificate=certificate)


def bundle_from(directory: str) -> Json:
    """As `bundle`, from bundle.pem of `directory`."""
    trusted = {
        "trusted_ca": {"filename": f"{directory}/bundle.pem"},
        "watched_directory": {"path": directory},
    }
    return _secret(BUNDLE, validation_context=trusted)


def credential_from(directory: str) -> Json:
    """As `credential`, from the file of that name in `directory`: the header's whole value."""
    source = {"filename": f"{directory}/{CREDENTIAL}", "watched_directory": {"path": directory}}
    return _secret(CREDENTIAL, generic_secret={"secret": source})


@dataclass(frozen=True, slots=True)
class SentKey:
    """What a guard sends to its servers. `edition` tells one key from another, and nothing of either."""

    secret: Secret
    edition: str


def credential(key: Secret) -> Json:
    """The header's value: what the server knows, as a bearer token."""
    return _secret(CREDENTIAL, generic_secret={"secret": {"inline_string": f"Bearer {key.reveal()}"}})


def _secret(name: str, **content: Json) -> Json:
    return typed_extension("extensions.transport_sockets.tls.v3.Secret", name=name, **content)


def version_of(resource: Json) -> str:
    """The digest that names `resource`. A private key takes no part: its certificate names it."""
    if certificate := resource.get("tls_certificate"):
        return digest(certificate["certificate_chain"])
    return digest(resource)


def discovery_response(resource: Json, version: str | None = None) -> Json:
    """A watched file's content. `version` is for what must not name itself: a key could be guessed by its digest."""
    return {"version_info": version or version_of(resource), "resources": [resource]}
