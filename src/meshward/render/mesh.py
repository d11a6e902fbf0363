"""A mesh of Istio: its objects as files that a person reviews, and what belongs into the mesh's own configuration."""

from __future__ import annotations

from meshward.plan.placement import OWNER, PlacedPlan, Workload
from meshward.render.wishes import Wishes
from meshward.targets.istio.inputs import IstioInputs
from meshward.targets.istio.logs import mesh_config
from meshward.targets.istio.resource import Resource
from meshward.targets.istio.target import mesh_resources
from meshward.targets.istio.text import document, write_files

VALUES = "istiod/values.yaml"
_VALUES = (
    "For whoever installs the mesh: what its own configuration must say, as values of the chart `istiod`. The trust "
    "domain of a mesh that runs is changed with care; the log provider is what the Telemetry of each namespace names."
)


def mesh_files(placed: PlacedPlan, wishes: Wishes) -> dict[str, bytes]:
    """By path. Raises MeshwardError for what Istio would compare otherwise than it is written."""
    texts = dict(write_files(mesh_objects(placed, wishes)))
    gateway_api = wishes.routes == "gateway-api"
    texts[VALUES] = document({"meshConfig": mesh_config(placed, gateway_api=gateway_api)}, _VALUES)
    return {path: text.encode() for path, text in texts.items()}


def mesh_objects(placed: PlacedPlan, wishes: Wishes) -> tuple[Resource, ...]:
    """All that the mesh is to have of `placed`. Raises as `mesh_files`."""
    owner = owner_of(placed) if wishes.owned else None
    given = IstioInputs(wishes.keys, wishes.routes, frozenset(wishes.allow), owner, wishes.mesh_wide)
    return mesh_resources(placed, given)


def owner_of(placed: PlacedPlan) -> Workload:
    """Who alone may write, where that is asked for."""
    return Workload(placed.edge.workload.namespace, OWNER)
