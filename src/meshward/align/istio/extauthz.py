"""Providers of `action: CUSTOM`: Envoy's ext_authz as istiod writes it of the MeshConfig, or why there is none."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from http import HTTPStatus
from typing import Any

from meshward.align.istio.matchers import Json, NotCompiled, word
from meshward.align.istio.meshconfig import MeshConfig
from meshward.align.istio.objects import mapping, text, text_list

PREFIX = "istio-ext-authz"
SHADOW = "istio_ext_authz_"  # under which a CUSTOM rule's match is told to ext_authz
_HTTP_RBAC, _TCP_RBAC = "envoy.filters.http.rbac", "envoy.filters.network.rbac"
_STATUSES = {each.value for each in HTTPStatus} - {103, 418, 425, 451, 101, 102, 306} | {0}


def ext_authz(config: MeshConfig, name: str, hosts: Collection[str], *, tcp: bool) -> Json | None:
    """The filter's configuration; None for a provider that TCP cannot ask. Raises NotCompiled where it is bad."""
    provider = config.providers.get(name)
    if provider is None or not _named_well(name):
        raise NotCompiled(f"no provider `{name}`")
    http, grpc = (mapping(provider.get(key)) for key in ("envoyExtAuthzHttp", "envoyExtAuthzGrpc"))
    if not http and not grpc:
        raise NotCompiled(f"`{name}` authorizes nothing")
    told = http or grpc
    host, cluster = _cluster(told, hosts)
    status = _status(told.get("statusOnError"))
    if http:
        _check_http(http)
        return None if tcp else _http(http, host, cluster, status, name)
    return _grpc_tcp(grpc, host, cluster, name) if tcp else _grpc_http(grpc, host, cluster, status, name)


def _named_well(name: str) -> bool:
    return re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", name) is not None


def _cluster(told: Mapping[str, Any], hosts: Collection[str]) -> tuple[str, str]:
    port = told.get("port")
    if not isinstance(port, int) or not 1 <= port <= 65535:
        raise NotCompiled("a provider's port must be 1 to 65535")
    host = text(told.get("service")).rpartition("/")[2]
    if host not in hosts:
        raise NotCompiled(f"no service `{host}`")
    return host, f"outbound|{port}||{host}"


def _status(told: object) -> Json:
    if told is None or told == "":
        return {}
    named = str(told)
    if not named.isdigit() or int(named) not in _STATUSES:
        raise NotCompiled(f"unsupported statusOnError `{named}`")
    return {"statusOnError": {"code": HTTPStatus(int(named)).phrase.replace(" ", "").replace("-", "")}}


def _check_http(http: Mapping[str, Any]) -> None:
    prefix = text(http.get("pathPrefix"))
    if prefix and not prefix.startswith("/"):
        raise NotCompiled("pathPrefix must begin with `/`")
    lists = ("includeRequestHeadersInCheck", "includeHeadersInCheck", "headersToUpstreamOnAllow")
    for field in (*lists, "headersToDownstreamOnDeny", "headersToDownstreamOnAllow"):
        if "*" in text_list(http.get(field)):
            raise NotCompiled(f"`*` alone in {field}")


def _http(http: Mapping[str, Any], host: str, cluster: str, status: Json, name: str) -> Json:
    uri = {"cluster": cluster, "timeout": _timeout(http), "uri": f"http://{host}"}
    service: Json = {"serverUri": uri, **_set("pathPrefix", text(http.get("pathPrefix")))}
    added = mapping(http.get("includeAdditionalHeadersInCheck"))
    if added:
        headers = [{"key": key, "value": str(added[key])} for key in sorted(added)]
        service["authorizationRequest"] = {"headersToAdd": headers}
    answer = {
        **_headers("allowedUpstreamHeaders", http.get("headersToUpstreamOnAllow")),
        **_headers("allowedClientHeaders", http.get("headersToDownstreamOnDeny")),
        **_headers("allowedClientHeadersOnSuccess", http.get("headersToDownstreamOnAllow")),
    }
    if answer:
        service["authorizationResponse"] = answer
    asked = http.get("includeRequestHeadersInCheck") or http.get("includeHeadersInCheck")
    return {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
        **_headers("allowedHeaders", asked),
        **_common(http, _HTTP_RBAC, name),
        "httpService": service,
        **status,
        **_body(http),
    }


def _grpc_http(grpc: Mapping[str, Any], host: str, cluster: str, status: Json, name: str) -> Json:
    return {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
        **_common(grpc, _HTTP_RBAC, name),
        "grpcService": _service(grpc, host, cluster),
        **status,
        **_body(grpc),
    }


def _grpc_tcp(grpc: Mapping[str, Any], host: str, cluster: str, name: str) -> Json:
    return {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.ext_authz.v3.ExtAuthz",
        **_common(grpc, _TCP_RBAC, name),
        "grpcService": _service(grpc, host, cluster),
        "statPrefix": "tcp.",
    }


def _service(grpc: Mapping[str, Any], host: str, cluster: str) -> Json:
    return {"envoyGrpc": {"authority": host, "clusterName": cluster}, "timeout": _timeout(grpc)}


def _common(told: Mapping[str, Any], rbac: str, name: str) -> Json:
    matched = {
        "filter": rbac,
        "path": [{"key": f"{SHADOW}shadow_effective_policy_id"}],
        "value": {"stringMatch": word("prefix", f"{PREFIX}-{name}")},
    }
    fail = {"failureModeAllow": True} if told.get("failOpen") is True else {}
    return {"filterEnabledMetadata": matched, **fail, "transportApiVersion": "V3"}


def _timeout(told: Mapping[str, Any]) -> str:
    return text(told.get("timeout")) or "600s"


def _body(told: Mapping[str, Any]) -> Json:
    body = mapping(told.get("includeRequestBodyInCheck"))
    fields = ("allowPartialMessage", "maxRequestBytes", "packAsBytes")
    return {"withRequestBody": {key: body[key] for key in fields if body.get(key)}} if body else {}


def _set(key: str, value: str) -> Json:
    return {key: value} if value else {}


def _headers(key: str, names: object) -> Json:
    patterns = [_pattern(name) for name in text_list(names)]
    return {key: {"patterns": patterns}} if patterns else {}


def _pattern(name: str) -> Json:
    if name.startswith("*"):
        return word("suffix", name[1:], ignore_case=True)
    kind, value = ("prefix", name[:-1]) if name.endswith("*") else ("exact", name)
    return word(kind, value, ignore_case=True)
