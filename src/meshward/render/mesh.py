"""A mesh of Istio: its objects as files that a person reviews, and what belongs into the mesh's own configuration."""

from __future__ import annotations

from meshward.plan.placement import PlacedPlan, Workload
from meshward.render.wishes import Wishes
from meshward.targets.istio.inputs import IstioInputs
from meshward.targets.istio.logs import mesh_config
from meshward.targets.istio.target import mesh_resources
from meshward.targets.istio.text import document, write_files

VALUES = "istiod/values.yaml"
_VALUES = (
    "For whoever installs the mesh: what its own configuration must say, as values of the chart `istiod`. The trust "
    "domain of a mesh that runs is changed with care; the log provider is what the Telemetry of each namespace names."
)
OWNER = "meshward"
"""The ServiceAccount, in the edge's namespace, that alone may write where `--owned` is applied."""


def mesh_files(placed: PlacedPlan, wishes: Wishes) -> dict[str, bytes]:
    """By path. Raises MeshwardError for what Istio would compare otherwise than it is written."""
    owner = Workload(placed.edge.workload.namespace, OWNER) if wishes.owned else None
    given = IstioInputs(wishes.keys, wishes.routes, frozenset(wishes.allow), owner, wishes.mesh_wide)
    texts = dict(write_files(mesh_resources(placed, given)))
    gateway_api = wishes.routes == "gateway-api"
    texts[VALUES] = document({"meshConfig": mesh_config(placed, gateway_api=gateway_api)}, _VALUES)
    return {path: text.encode() for path, text in texts.items()}
