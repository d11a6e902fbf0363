"""What a sidecar writes of each request: the guard's fields, as far as Istio knows them."""

from __future__ import annotations

from typing import Any

from meshward.plan.placement import PlacedPlan

PROVIDER = "mw-json"
_PAYLOAD = "envoy.filters.http.jwt_authn:payload"


def _claim(*path: str) -> str:
    return f"%DYNAMIC_METADATA({':'.join((_PAYLOAD, *path))})%"


def _text(operator: str) -> str:
    """As a string: an operator alone keeps its JSON type, two beside each other are text. The second never is there."""
    return f"{operator}%DYNAMIC_METADATA(none)%"


_FIELDS = {
    "v": "1",
    "hop": "sidecar",
    "rid": "%REQ(X-REQUEST-ID):64%",
    "t": "%START_TIME(%s.%3f)%",
    "conn": _text("%CONNECTION_ID%"),
    "uid": "%UNIQUE_ID%",
    "method": "%REQ(:METHOD):16%",
    "path": "%PATH(NQ:PATH):1024%",
    "status": _text("%RESPONSE_CODE%"),
    "flags": "%RESPONSE_FLAGS%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "bytes": _text("%BYTES_SENT%"),
    "bytes_in": _text("%BYTES_RECEIVED%"),
    "dur": _text("%DURATION%"),
    "peer": "%DOWNSTREAM_PEER_URI_SAN%",
    "serial": "%DOWNSTREAM_PEER_SERIAL%",
    "local": "%DOWNSTREAM_LOCAL_URI_SAN%",
    "sub": _claim("sub"),
    "txn": _claim("txn"),
    "model": _claim("tctx", "model"),
    "action": _claim("tctx", "action"),
    "grant": _claim("tctx", "grant"),
    "rev": _claim("tctx", "rev"),
    "told_reqd": "%REQ(CONTENT-DIGEST):128%",
    "upstream": "%UPSTREAM_HOST%",
}
"""No token, no query string, no body; what a caller wrote is cut. `dur` is milliseconds."""


def mesh_config(placed: PlacedPlan, *, gateway_api: bool) -> dict[str, Any]:
    """What a person merges into the mesh's own configuration: it belongs to the mesh's installation.

    With HTTPRoutes the mesh's default of retries as well: theirs are in no released standard channel, and what
    is set for the whole mesh may send a POST again after a 503.
    """
    provider = {
        "name": PROVIDER,
        "envoyFileAccessLog": {
            "path": "/dev/stdout",
            "omitEmptyValues": True,
            "logFormat": {"labels": dict(_FIELDS)},
        },
    }
    retries = {"defaultHttpRetryPolicy": dict(RETRIES)} if gateway_api else {}
    return {"trustDomain": placed.plan.trust_domain, "extensionProviders": [provider], **retries}


RETRIES = {"attempts": 1, "retryOn": "connect-failure,refused-stream"}
"""Only what no server has begun: a POST never runs twice."""
