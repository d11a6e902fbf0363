"""Every object that we render is taken by the real API server, by istioctl and by the schemas that Istio ships."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.mesh.judges import Schemas, istioctl_complaints
from tests.mesh.lab import Lab
from tests.mesh.lab.kubernetes_api import Refused


def _example(shared_data: Path) -> list[dict[str, Any]]:
    text = (shared_data / "examples/mesh/istio.yaml").read_text()
    return [given for given in yaml.safe_load_all(text) if given]


def test_the_reference_example_is_taken_by_all_three(lab: Lab, shared_data: Path, tmp_path: Path) -> None:
    objects = _example(shared_data)
    lab.apply(objects)
    assert istioctl_complaints(objects, tmp_path) == []
    schemas = Schemas.read(shared_data / "schemas")
    assert [complaint for given in objects for complaint in schemas.complaints(given)] == []


VARIANTS = {
    "plain": [],
    "HTTPRoutes": ["--routes", "gateway-api"],
    "everything on request": ["--allow", "envoyfilter", "--owned", "--mesh-wide"],
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_is_rendered_is_taken_by_all_three(
    lab: Lab, shared_data: Path, tmp_path: Path, variant: str
) -> None:
    objects = rendered(shared_data, tmp_path / "out", *VARIANTS[variant])
    assert istioctl_complaints(objects, tmp_path) == []
    schemas = Schemas.read(shared_data / "schemas")
    assert [complaint for given in objects for complaint in schemas.complaints(given)] == []
    ours = {"ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"}
    lab.apply([given for given in objects if given["kind"] not in ours])
    lab.apply(
        [given for given in objects if given["kind"] in ours], dry_run=True
    )  # it would refuse the lab too


def rendered(shared_data: Path, out: Path, *options: str) -> list[dict[str, Any]]:
    """Every object that the command writes of the reference policy on its site."""
    example = shared_data / "examples"
    command = [
        sys.executable, "-m", "meshward", "render", example / "policy.yaml", "--site", example / "site.yaml",
        "--target", "istio", "--out", out, *options,
    ]  # fmt: skip
    subprocess.run(list(map(str, command)), check=True, capture_output=True)
    files = [file for file in sorted(out.rglob("*.yaml")) if "istiod" not in file.parts]
    found = [given for file in files for given in yaml.safe_load_all(file.read_text()) if given]
    return [given for given in found if given["kind"] != "Kustomization"]


@pytest.mark.parametrize(
    ("wrong", "found_by"),
    [
        (
            {"selector": {"matchLabels": {"app": "x"}}, "rules": [{"form": []}]},
            {"api", "istioctl", "schemas"},
        ),
        ({"rules": [{"to": [{"operation": {"paths": ["/v1/{*}x/y"]}}]}]}, {"istioctl"}),
        ({"selector": {"matchLabels": {"*": "x"}}}, {"api", "istioctl"}),
    ],
    ids=["unknown field", "template that ends Envoy", "label key with a star"],
)
def test_the_judges_find_what_they_are_here_for(
    wrong: dict[str, Any], found_by: set[str], tmp_path: Path, lab: Lab, shared_data: Path
) -> None:
    meta = {"name": "wrong", "namespace": "models"}
    given = {
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": meta,
        "spec": wrong,
    }
    assert {judge for judge, said in _judged(lab, given, tmp_path, shared_data) if said} == found_by


def _judged(
    lab: Lab, given: dict[str, Any], directory: Path, shared_data: Path
) -> Iterator[tuple[str, bool]]:
    yield "istioctl", bool(istioctl_complaints([given], directory))
    yield "schemas", any(Schemas.read(shared_data / "schemas").complaints(given))
    try:
        lab.apply([given])
        yield "api", False
    except Refused:
        yield "api", True
