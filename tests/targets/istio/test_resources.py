"""What is written for a mesh, and what is refused instead."""

from __future__ import annotations

from dataclasses import replace

import pytest

from meshward.kit import codes
from meshward.kit.errors import MeshwardError
from meshward.plan.placement import PlacedPlan
from meshward.policy.values import Route
from meshward.targets.istio.inputs import IstioInputs
from meshward.targets.istio.target import mesh_resources
from tests.targets.istio.placed import placed


def with_route(path: str) -> PlacedPlan:
    """A plan whose one version has, besides, a route that no policy's grammar lets through today."""
    given = placed()
    model = given.plan.models["m"]
    version = replace(model.versions[0], routes={Route("POST", path): "infer"})
    plan = replace(given.plan, models={"m": replace(model, versions=(version,))})
    return replace(given, plan=plan)


@pytest.mark.parametrize(
    "path",
    [
        "/v1/*",
        "*",
        "/v1/{*}",
        "/v1/{**}",
        "/a;b",
        "/a%2fb",
        "//a",
        "/a//b",
        "/a b",
        "/a/../b",
        "/.",
        "/a\\b",
        "a",
        "",
        "/a?b",
        "/a#b",
        "/\u212a",
    ],
)
def test_a_route_that_istio_would_not_compare_as_it_is_written_is_refused(path: str) -> None:
    with pytest.raises(MeshwardError) as refused:
        mesh_resources(with_route(path), IstioInputs())
    assert refused.value.code is codes.ROUTE_NOT_EXACT and "m.infer" in refused.value.message


@pytest.mark.parametrize("path", ["/", "/a", "/a/", "/v1/a.b/c~d:e@f-g_h"])
def test_an_exact_route_is_written_as_it_is(path: str) -> None:
    assert any(path in str(each.body) for each in mesh_resources(with_route(path), IstioInputs()))


def test_two_objects_of_one_name_are_refused() -> None:
    """`a.b` becomes the label `a-b-` and six digits of its digest; a model may be called just that."""
    server = {"server": "tei", "url": "unix:/run/m.sock"}
    models = {name: {"versions": {"v": server}} for name in ("a.b", "a-b-2e7336")}
    with pytest.raises(MeshwardError) as refused:
        mesh_resources(placed(models=models), IstioInputs())
    assert refused.value.code is codes.NAMES_COLLIDE
