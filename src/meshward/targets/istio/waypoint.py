"""Ambient mode: what a namespace's waypoint is, and that nobody goes past it. Rendered, and not run by our tests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from meshward.plan.placement import WAYPOINT, PlacedPlan
from meshward.targets.istio.naming import GATEWAY_API, SECURITY, resource
from meshward.targets.istio.resource import Resource

_GATEWAY = (
    "The waypoint of this namespace's models: it enforces what sidecars would. Not run by meshward's own tests. "
    "The namespace or its services need the label istio.io/use-waypoint."
)
_PAST = "Pods take requests from their waypoint alone: whoever goes past it meets no rule of a request."


def at_waypoint() -> dict[str, Any]:
    """Of a policy that a namespace's waypoint enforces."""
    return {"targetRefs": [{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": WAYPOINT}]}


def waypoint_resources(placed: PlacedPlan, namespace: str) -> Iterator[Resource]:
    file = f"namespaces/{namespace}.yaml"
    revision = {} if placed.mesh.revision is None else {"istio.io/rev": placed.mesh.revision}
    yield resource(
        GATEWAY_API,
        "Gateway",
        namespace,
        WAYPOINT,
        file,
        _GATEWAY,
        {
            "gatewayClassName": "istio-waypoint",
            "listeners": [{"name": "mesh", "port": 15008, "protocol": "HBONE"}],
        },
        labels={"istio.io/waypoint-for": "service", **revision},
    )
    principal = f"{placed.plan.trust_domain}/ns/{namespace}/sa/{WAYPOINT}"
    yield resource(
        SECURITY,
        "AuthorizationPolicy",
        namespace,
        "mw-waypoint-only",
        file,
        _PAST,
        {"action": "ALLOW", "rules": [{"from": [{"source": {"principals": [principal]}}]}]},
    )
