"""Every object passes the schema that Istio, or the Gateway API, ships: unknown fields are errors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from meshward.plan.placement import PlacedPlan, Workload, place
from meshward.plan.resolve import resolve
from meshward.policy.parse import parse
from meshward.policy.site import parse_site
from meshward.policy.tree import Source
from meshward.targets.istio.inputs import ENVOYFILTER, IstioInputs
from meshward.targets.istio.target import mesh_resources
from tests.mesh.judges import Schemas

ASKED = {
    "plain": IstioInputs(),
    "all": IstioInputs(
        allow=frozenset({ENVOYFILTER}), owner=Workload("meshward", "meshward"), mesh_wide=True
    ),
    "gateway-api": IstioInputs(routes="gateway-api"),
}


def example(shared_data: Path, mode: str) -> PlacedPlan:
    sources = shared_data / "examples"
    policy = parse([Source("policy.yaml", (sources / "policy.yaml").read_bytes())]).policy
    text = (sources / "site.yaml").read_text() + f"mesh: {{mode: {mode}, revision: stable}}\n"
    return place(resolve(policy), parse_site(Source("site.yaml", text.encode())).site)


@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize("mode", ["sidecar", "ambient"])
def test_every_object_passes(shared_data: Path, mode: str, asked: str) -> None:
    objects = [
        json.loads(json.dumps(each.body)) for each in mesh_resources(example(shared_data, mode), ASKED[asked])
    ]
    schemas = Schemas.read(shared_data / "schemas")
    assert [complaint for each in objects for complaint in schemas.complaints(each)] == []
    assert {"AuthorizationPolicy", "RequestAuthentication", "PeerAuthentication"} <= {
        each["kind"] for each in objects
    }
