"""Protected resource metadata (RFC 9728): where a client without credentials learns whom to ask for them.

Unauthenticated, so it is the same for every name that a model could have: it does not tell which ones exist.
"""

from __future__ import annotations

from meshward.edge.answers import METADATA, resource_of
from meshward.edge.world import World
from meshward.kit.canonical import canonical_json
from meshward.kit.names import is_name


def document(path: str, world: World) -> bytes | None:
    """The metadata that `path` asks for; None if that path is not one of a resource."""
    if not path.startswith(METADATA):
        return None
    rest = path.removeprefix(METADATA)
    model = rest.removeprefix("/m/")
    if rest and (not rest.startswith("/m/") or not is_name(model)):
        return None
    metadata = {
        "resource": resource_of(world.live.origin, "m" if rest else "v1", model),
        "authorization_servers": sorted(issuer.url for issuer in world.issuers),
        "bearer_methods_supported": ["header"],
    }
    return canonical_json(metadata).encode()
