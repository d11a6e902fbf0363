"""Names that several parts of a guard's configuration must agree on."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]

SOCKET_BYTES = 103  # of a unix socket's path: sun_path is 108 with its NUL on Linux, elsewhere 104

RBAC = "envoy.filters.http.rbac"
LIMIT = "envoy.filters.http.local_ratelimit"
BUFFER = "envoy.filters.http.buffer"
JWT_RESOURCE = "txn-jwt"  # the name of the jwt_authn filter, by which routes name their requirement of it
ONE_GRANT = "one-grant"  # the name of the filter that demands this of a token
UPSTREAM = "model"
TOKEN_HEADER = "txn-token"  # noqa: S105 - a name
CREDENTIAL = "credential"
LAYER_HEADER, REASON_HEADER = "x-mw-layer", "x-mw-reason"  # on answers of the guard's own
# Between our own filters only: wiped on arrival, set from the verified token, taken off before the model.
SUBJECT_HEADER, GRANT_HEADER, REVISION_HEADER, TXN_HEADER = "x-mw-sub", "x-mw-grant", "x-mw-rev", "x-mw-txn"
PASSED_SUBJECT_HEADER = "x-meshward-subject"  # what a model is told, where its version says so
PEER_STATE = "meshward.peer"  # of a connection: all URIs of the caller's certificate
WHO_STATE = "meshward.who"  # of a request: what was verified of it
# The permission is the route's, which the token holds. What may hold a space stands last.
WHO = (
    f"%REQ({REVISION_HEADER})% %REQ({GRANT_HEADER})% %REQ({TXN_HEADER})% %ROUTE_NAME% %REQ({SUBJECT_HEADER})%"
)


def typed_extension(kind: str, **fields: Any) -> Json:
    """A typed extension: `kind` is the message's name below `envoy.`."""
    return {"@type": f"type.googleapis.com/envoy.{kind}", **fields}
