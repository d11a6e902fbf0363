"""Protected resource metadata (RFC 9728): where a client without credentials learns whom to ask for them.

Unauthenticated, so it is the same for every name that a model could have: it does not tell which ones exist.
"""

from __future__ import annotations

from typing import Any

from meshward.edge.answers import resource_of
from meshward.edge.decision_state import DecisionState
from meshward.kit.canonical import canonical_json
from meshward.kit.names import is_name
from meshward.kit.wellknown import LOGIN, METADATA


def document(path: str, state: DecisionState) -> bytes | None:
    """The metadata that `path` asks for; None if that path is not one of a resource."""
    if not path.startswith(METADATA):
        return None
    rest = path.removeprefix(METADATA)
    model = rest.removeprefix("/m/")
    if rest and (not rest.startswith("/m/") or not is_name(model)):
        return None
    metadata: dict[str, Any] = {
        "resource": resource_of(state.live.origin, "m" if rest else "v1", model),
        "authorization_servers": sorted(issuer.url for issuer in state.issuers),
        "bearer_methods_supported": ["header"],
    }
    if clients := login_clients(state):
        metadata[LOGIN] = clients
    return canonical_json(metadata).encode()


def login_clients(state: DecisionState) -> dict[str, str]:
    """By issuer: the public client that `meshward login` uses there, as the policy's `login` says."""
    issuers = state.plan.issuers.values()
    return {issuer.url: issuer.login_client for issuer in issuers if issuer.login_client is not None}
