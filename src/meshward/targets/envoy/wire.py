"""Names that several parts of a guard's configuration must agree on."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]

SOCKET_BYTES = 103  # of a unix socket's path: sun_path is 108 with its NUL on Linux, elsewhere 104

JWT = "envoy.filters.http.jwt_authn"  # jwt_authn stores the payload under its own name, whatever the filter's
RBAC = "envoy.filters.http.rbac"
LIMIT = "envoy.filters.http.local_ratelimit"
JWT_RESOURCE = "txn-jwt"
PAYLOAD = "txn"
UPSTREAM = "model"
CREDENTIAL = "credential"
AUTHORIZATION = "authorization"
LAYER_HEADER, REASON_HEADER = "x-mw-layer", "x-mw-reason"  # on answers of the guard's own
PEER_HEADER = "x-mw-peer"  # between our own filters only: set on arrival, taken off before the model


def typed_extension(kind: str, **fields: Any) -> Json:
    """A typed extension: `kind` is the message's name below `envoy.`."""
    return {"@type": f"type.googleapis.com/envoy.{kind}", **fields}
