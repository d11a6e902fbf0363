"""Which pods, or which service, an object speaks of."""

from __future__ import annotations

from typing import Any

from meshward.plan.placement import MeshService


def labels(select: tuple[tuple[str, str], ...]) -> dict[str, str]:
    return dict(select)


def selected(place: MeshService, ambient: bool) -> dict[str, Any]:
    """Of a policy: the version's pods; where a waypoint enforces it, the service that it stands before."""
    if ambient:
        return {"targetRefs": [{"group": "", "kind": "Service", "name": place.name}]}
    return {"selector": {"matchLabels": labels(place.select)}}
