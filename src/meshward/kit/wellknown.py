"""Where an edge tells about itself, for the edge, its clients and what stands between."""

from __future__ import annotations

METADATA = "/.well-known/oauth-protected-resource"
"""Whom to ask for a token (RFC 9728)."""
WHOAMI = "/.well-known/meshward/whoami"
"""Who the bearer of a token is to the edge."""
CONTROL = "/.meshward/control"
"""Where operators ask the instance to change."""
CONTROL_BODY = 1 << 20
"""Bytes of the longest request there: a policy of 1,000 models and 1,000 grants has 0.5 MB."""
LOGIN = "meshward_login"
"""In the metadata, beside the standard's members, which allows it (RFC 9728, 2): by issuer, the public client
that `meshward login` uses there."""
