"""Every object that we render is taken by the real API server, by istioctl and by the schemas that Istio ships."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.mesh.judges import Schemas, istioctl_complaints
from tests.mesh.lab import Lab


def _example(shared_data: Path) -> list[dict[str, Any]]:
    text = (shared_data / "examples/mesh/istio.yaml").read_text()
    return [given for given in yaml.safe_load_all(text) if given]


def test_the_reference_example_is_taken_by_all_three(lab: Lab, shared_data: Path, tmp_path: Path) -> None:
    objects = _example(shared_data)
    lab.apply(objects)
    assert istioctl_complaints(objects, tmp_path) == []
    schemas = Schemas.read(shared_data / "schemas")
    assert [complaint for given in objects for complaint in schemas.complaints(given)] == []


@pytest.mark.parametrize(
    ("wrong", "istioctl_finds"),
    [
        ({"selector": {"matchLabels": {"app": "x"}}, "rules": [{"form": []}]}, True),
        ({"rules": [{"to": [{"operation": {"paths": ["/v1/{*}x/y"]}}]}]}, True),
    ],
    ids=["unknown field", "template that ends Envoy"],
)
def test_the_judges_find_what_they_are_here_for(
    wrong: dict[str, Any], istioctl_finds: bool, tmp_path: Path, lab: Lab
) -> None:
    meta = {"name": "wrong", "namespace": "models"}
    given = {
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": meta,
        "spec": wrong,
    }
    assert bool(istioctl_complaints([given], tmp_path)) is istioctl_finds
