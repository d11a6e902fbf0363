"""Guards for stock Envoys on other machines: one directory for each version that the site places behind one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from meshward.plan.placement import PlacedPlan, RemoteGuard
from meshward.targets.envoy.elsewhere import render_elsewhere, usual_place
from meshward.targets.envoy.projection import GuardPart
from meshward.targets.envoy.target import GUARD


def guard_files(placed: PlacedPlan, keys: Sequence[Mapping[str, Any]]) -> dict[str, bytes]:
    """By path `<model>/<version>/...`. Raises MeshwardError for an upstream or key that no guard can use."""
    found: dict[str, bytes] = {}
    for (model, version), place in sorted(placed.places.items()):
        if isinstance(place, RemoteGuard):
            view = GUARD.project(placed.plan, GuardPart(model, version))
            here = usual_place(model, version, place.host, place.port)
            files = render_elsewhere(view, here, keys)
            found |= {f"{model}/{version}/{name}": content for name, content in files.items()}
    return found
