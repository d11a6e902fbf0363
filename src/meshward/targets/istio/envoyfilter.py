"""What only an EnvoyFilter can say; written on request, for its API is alpha and tied to versions of Envoy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from meshward.targets.istio.naming import ENVOY_FILTERS, MODEL, VERSION, resource, version_name
from meshward.targets.istio.placing import labels
from meshward.targets.istio.projection import MeshView, Net
from meshward.targets.istio.resource import Resource

_MANAGER = "envoy.filters.network.http_connection_manager"
_ROUTER = "envoy.filters.http.router"
_TYPES = "type.googleapis.com/envoy.extensions.filters"
_MANAGER_TYPE = f"{_TYPES}.network.http_connection_manager.v3.HttpConnectionManager"
_PAYLOAD = "envoy.filters.http.jwt_authn"
_UNLIMITED = {"max_tokens": 2**32 - 1, "tokens_per_fill": 2**32 - 1, "fill_interval": "1s"}
MAX_IDENTITIES = 10_000

_SLASHES = (
    "Refuses %2f and %5c with 400. Exact paths are closed to them anyhow; this is for what others add here."
)
_NET = (
    "A net: twice what each grant gives one identity, counted by each pod for itself. The edge counts exactly; who "
    "meets this went round it."
)


def namespace_filters(namespace: str) -> Iterator[Resource]:
    """For all sidecars of a guarded namespace."""
    value = {
        "name": _MANAGER,
        "typed_config": {"@type": _MANAGER_TYPE, "path_with_escaped_slashes_action": "REJECT_REQUEST"},
    }
    patch = {
        "applyTo": "NETWORK_FILTER",
        "match": {"context": "SIDECAR_INBOUND", "listener": {"filterChain": {"filter": {"name": _MANAGER}}}},
        "patch": {"operation": "MERGE", "value": value},
    }
    file = f"namespaces/{namespace}.yaml"
    spec = {"configPatches": [patch]}
    yield resource(ENVOY_FILTERS, "EnvoyFilter", namespace, "mw-escaped-slashes", file, _SLASHES, spec)


def net_filters(view: MeshView, file: str) -> Iterator[Resource]:
    """For the sidecars of one version; nothing where no grant limits anybody. After authorization: claims are true."""
    if not view.nets:
        return
    listener = {"filterChain": {"filter": {"name": _MANAGER, "subFilter": {"name": _ROUTER}}}}
    patch = {
        "applyTo": "HTTP_FILTER",
        "match": {"context": "SIDECAR_INBOUND", "listener": listener},
        "patch": {"operation": "INSERT_BEFORE", "value": _limit(view)},
    }
    spec = {"workloadSelector": {"labels": labels(view.place.select)}, "configPatches": [patch]}
    marks = {MODEL: view.model, VERSION: view.version}
    name = version_name(view.model, view.version)
    namespace = view.place.namespace
    yield resource(ENVOY_FILTERS, "EnvoyFilter", namespace, name, file, _NET, spec, annotations=marks)


def _limit(view: MeshView) -> dict[str, Any]:
    always = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}
    return {
        "name": "meshward.net",
        "typed_config": {
            "@type": f"{_TYPES}.http.local_ratelimit.v3.LocalRateLimit",
            "stat_prefix": "mw_net",
            "token_bucket": _UNLIMITED,
            "filter_enabled": always,
            "filter_enforced": always,
            "always_consume_default_token_bucket": False,
            "max_dynamic_descriptors": MAX_IDENTITIES,
            "rate_limits": [{"actions": [_claim("sub", "sub"), _claim("grant", "tctx", "grant")]}],
            "descriptors": [_bucket(net) for net in view.nets],
        },
    }


def _claim(descriptor: str, *path: str) -> dict[str, Any]:
    steps = [{"key": step} for step in ("payload", *path)]
    key = {"key": _PAYLOAD, "path": steps}
    return {"metadata": {"descriptor_key": descriptor, "source": "DYNAMIC", "metadata_key": key}}


def _bucket(net: Net) -> dict[str, Any]:
    bucket = {
        "max_tokens": net.count,
        "tokens_per_fill": net.count,
        "fill_interval": f"{net.seconds}s",
    }
    return {"entries": [{"key": "sub"}, {"key": "grant", "value": net.grant}], "token_bucket": bucket}
