"""What is written for a mesh, and what is refused instead."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshward.align.istio.attach import Workload
from meshward.align.istio.request import PLAINTEXT, Client, Request
from meshward.align.istio.view import judge, read_sidecar
from meshward.kit import codes
from meshward.kit.errors import MeshwardError
from meshward.kit.names import NAME as NAMES
from meshward.plan.placement import PlacedPlan
from meshward.policy.values import Route
from meshward.targets.istio.inputs import ENVOYFILTER, IstioInputs
from meshward.targets.istio.target import mesh_resources
from meshward.targets.istio.text import document
from tests.targets.istio.placed import placed, service
from tests.targets.istio.reading import GIVEN, read_back


def with_route(path: str) -> PlacedPlan:
    """A plan whose one version has, besides, a route that no policy's grammar lets through today."""
    whole = placed()
    model = whole.plan.models["m"]
    version = replace(model.versions[0], routes={Route("POST", path): "infer"})
    plan = replace(whole.plan, models={"m": replace(model, versions=(version,))})
    return replace(whole, plan=plan)


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


def test_a_version_of_very_many_routes_is_split_below_what_an_api_server_takes() -> None:
    """Each object has at most 512 rules and operations, and a megabyte; together they say every route once."""
    routes = [f"POST /{'x' * 240}/{number:05}" for number in range(3000)]
    servers = {"own": {"infer": routes, "health": "GET /health"}}
    models = {"m": {"versions": {"v1": {"server": "own", "url": "unix:/run/m.sock"}}}}
    found = [
        each
        for each in mesh_resources(placed(servers=servers, models=models), IstioInputs())
        if each.kind == "AuthorizationPolicy" and each.name != "mw-default-deny"
    ]
    assert len({each.name for each in found}) == len(found) > 1
    operations = [
        to["operation"] for each in found for rule in each.body["spec"]["rules"] for to in rule["to"]
    ]
    assert sorted(path for each in operations for path in each["paths"]) == sorted(
        route[5:] for route in routes
    )
    assert all(len(each.body["spec"]["rules"]) <= 512 for each in found)
    assert all(len(document(each.body, each.comment)) < 1_000_000 for each in found)


NAME = st.from_regex(NAMES, fullmatch=True)
SUBDOMAIN = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*")


@settings(max_examples=60)
@given(
    st.lists(NAME, min_size=2, max_size=2, unique=True), st.lists(NAME, min_size=2, max_size=2, unique=True)
)
def test_whatever_the_policy_calls_them_each_object_has_a_name_of_its_own(
    models: list[str], versions: list[str]
) -> None:
    server = {"server": "tei", "url": "unix:/run/m.sock"}
    both = {
        "versions": dict.fromkeys(versions, server),
        "traffic": dict(zip(versions, (50, 50), strict=True)),
    }
    site = {
        "models": {
            model: {version: service(f"s{row}{column}") for column, version in enumerate(versions)}
            for row, model in enumerate(models)
        }
    }
    try:
        asked = IstioInputs(allow=frozenset({ENVOYFILTER}))
        found = mesh_resources(placed(site, models=dict.fromkeys(models, both)), asked)
    except MeshwardError as refused:
        assert refused.code is codes.NAMES_COLLIDE
        return
    for each in found:
        assert SUBDOMAIN.fullmatch(each.name) and len(each.name) <= (63 if each.kind == "Service" else 253)
    policies = [
        each for each in found if each.kind == "AuthorizationPolicy" and each.name != "mw-default-deny"
    ]
    marks = [each.body["metadata"]["annotations"] for each in policies]
    told = {(each["meshward/model"], each["meshward/version"]) for each in marks}
    assert told == {(model, version) for model in models for version in versions} and len(policies) == 4


def test_a_role_without_members_opens_nothing() -> None:
    found = mesh_resources(placed(roles={"r": []}), IstioInputs())
    assert [each.name for each in found if each.kind == "AuthorizationPolicy"] == ["mw-default-deny"]


def test_rules_for_the_whole_mesh_leave_the_edges_own_door_open() -> None:
    """Clients are not of the mesh: their TLS is nginx's to end."""
    plan = placed()
    mesh = read_back(plan, replace(GIVEN, mesh_wide=True))
    edge = Workload("edge", {"app": "nginx"}, protocols={9443: "tcp", 8080: "tcp"})
    at_edge = read_sidecar(mesh, edge)
    assert judge(at_edge, Request(PLAINTEXT, "", "", port=9443)).permit is True
    assert judge(at_edge, Request(PLAINTEXT, "", "", port=8080)).permit is False
    assert judge(at_edge, Request(Client("spiffe://one.test/ns/a/sa/b"), "", "", port=8080)).permit is False
    anybody = read_sidecar(mesh, Workload("elsewhere", {"app": "x"}))
    assert judge(anybody, Request(Client(plan.edge_id), "GET", "/", port=80)).status == 403


def test_two_objects_of_one_name_are_refused() -> None:
    """`a.b` becomes the label `a-b-` and six digits of its digest; a model may be called just that."""
    server = {"server": "tei", "url": "unix:/run/m.sock"}
    models = {name: {"versions": {"v": server}} for name in ("a.b", "a-b-2e7336")}
    with pytest.raises(MeshwardError) as refused:
        mesh_resources(placed(models=models), IstioInputs())
    assert refused.value.code is codes.NAMES_COLLIDE


def test_a_service_of_a_site_is_not_overwritten_by_another_models_name() -> None:
    """Requests for one model would be sent to the other, and its Service replaced."""
    server = {"server": "tei", "url": "unix:/run/m.sock"}
    models = {
        "a": {"versions": dict.fromkeys(("v1", "v2"), server), "traffic": {"v1": 50, "v2": 50}},
        "b": {"versions": {"v": server}},
    }

    def found(name: str) -> object:
        places = {"a": {"v1": service("a1"), "v2": service("a2")}, "b": {"v": service(name)}}
        return mesh_resources(placed({"models": places}, models=models), IstioInputs())

    assert found("mw-b")
    with pytest.raises(MeshwardError, match="mw-a") as refused:
        found("mw-a")
    assert refused.value.code is codes.NAMES_COLLIDE
