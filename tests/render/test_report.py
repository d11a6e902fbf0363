"""Each path decides what the policy decides, or nothing is rendered; what else nobody does is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from render_cases import hops_of, plan_of, policy_of, site_of
from tests.cost import assert_grows, cost

from meshward.check.site import require_harmless
from meshward.kit.errors import PolicyInvalid
from meshward.kit.exits import Exit
from meshward.plan.coverage import Hop, Path, Way, enforcers
from meshward.plan.features import ALWAYS, ON_PATHS, Can, Cannot, Feature, FeatureKind, Table
from meshward.plan.ir import Plan
from meshward.render.asked import asked_of
from meshward.render.compose import render_site
from meshward.render.losses import INSTEAD
from meshward.render.paths import SitePath, mesh_paths, site_paths
from meshward.render.report import Report, describe_coverage
from meshward.render.texts import report_json, report_lines
from meshward.render.wishes import Wishes

TO_SIDECAR = "client -> edge -> decision service -> sidecar"
TO_GUARD = "client -> edge -> decision service -> guard elsewhere"


def report_of(plan: Plan, **how: Any) -> Report:
    placed = require_harmless(plan, site_of())
    return describe_coverage(placed.plan, site_paths(placed), **how)


def refused(plan: Plan, paths: list[SitePath]) -> list[tuple[str, str]]:
    with pytest.raises(PolicyInvalid) as caught:
        describe_coverage(plan, paths)
    assert caught.value.exit_code is Exit.UNSAFE
    assert caught.value.problems[-1].code.number == "MW5022"
    return [(each.code.number, each.message) for each in caught.value.problems[:-1]]


def with_table(table: Table, path: Path | None = None) -> list[SitePath]:
    """The mesh's paths with another table for its sidecar."""
    sidecar = Hop("sidecar", table)
    return [
        SitePath(replace(each, hops=(*each.hops[:-1], sidecar)), (("a", "v1"), ("b", "v1")))
        for each in mesh_paths()
    ]


# --- what a site's paths are ------------------------------------------------------------------------------------------


def test_each_version_is_on_the_paths_of_its_place() -> None:
    placed = require_harmless(plan_of(), site_of())
    paths = {each.path.name: each.versions for each in site_paths(placed)}
    assert paths == {
        TO_SIDECAR: (("a", "v1"),),
        "workload -> sidecar": (("a", "v1"),),
        TO_GUARD: (("b", "v1"),),
        "workload -> guard elsewhere": (("b", "v1"),),
    }


def test_a_key_counts_on_the_paths_to_its_own_version() -> None:
    plan = plan_of()
    requires = {
        Feature.TIMEOUT: ("models.a.timeout",),
        Feature.HEALTH: ("models.a.versions.v1.server", "models.b.versions.v1.server"),
        Feature.ROLES: ("grants[g].roles",),
    }
    assert asked_of((("a", "v1"),), requires, plan) == {
        Feature.TIMEOUT: ("models.a.timeout",),
        Feature.HEALTH: ("models.a.versions.v1.server",),
        Feature.ROLES: ("grants[g].roles",),
    }
    assert Feature.TIMEOUT not in asked_of((("b", "v1"),), requires, plan)


def test_a_name_with_dots_hides_no_key() -> None:
    """A key that could be of either of two models counts for both."""
    server = {"server": "plain", "url": "http://127.0.0.1:8003"}
    models = {"a": {"versions": {"v1": server}}, "a.timeout": {"versions": {"v1": server}}}
    plan = plan_of(models=models)
    requires = {Feature.TIMEOUT: ("models.a.timeout",)}
    assert asked_of((("a", "v1"),), requires, plan) == requires


def test_a_kind_of_server_and_a_secret_count_where_a_server_of_that_kind_or_with_a_key_is() -> None:
    servers = {"plain": {"infer": ["POST /run"]}, "other": {"infer": ["POST /run"], "health": "GET /up"}}
    models = {
        "a": {"versions": {"v1": {"server": "plain", "url": "http://127.0.0.1:8001"}}},
        "b": {"versions": {"v1": {"server": "other", "url": "http://127.0.0.1:8002", "credential": "k"}}},
    }
    plan = plan_of(servers=servers, models=models, credentials={"k": {"from": "env", "name": "K"}})
    asked_a, asked_b = (asked_of(((model, "v1"),), plan.requires, plan) for model in "ab")
    assert Feature.SERVER_CREDENTIAL not in asked_a and "servers.other.health" not in asked_a[Feature.HEALTH]
    assert asked_b[Feature.SERVER_CREDENTIAL] == ("credentials", "models.b.versions.v1.credential")
    assert "servers.other.health" in asked_b[Feature.HEALTH]


# --- refusals ---------------------------------------------------------------------------------------------------------


def test_nothing_that_lets_somebody_in_is_ever_a_loss() -> None:
    """By kind, and one by one for what `decide` could be told wrongly."""
    never = {FeatureKind.DOOR, FeatureKind.EACH, FeatureKind.ENTRY}
    assert not [each for each in INSTEAD if each.kind in never]
    decided = {each for each in Feature if each.kind is FeatureKind.DECISION}
    assert decided & INSTEAD.keys() == {Feature.SHADOW, Feature.ON_REQUEST, Feature.VIA, Feature.AGENTS}
    assert not INSTEAD.keys() & {
        Feature.CANONICAL_REQUEST,
        Feature.IDENTITY_HEADERS,
        Feature.TOKEN_TYPE,
        Feature.TOKEN_AGE,
        Feature.TRUSTED_PROXIES,
        Feature.BODY_MODEL,
        Feature.REVOKED_SUBJECT,
        Feature.REVOKED_AGENT,
        Feature.REVOKED_TOKEN,
        Feature.REVOKED_STREAM,
        Feature.EXPIRED_STREAM,
        Feature.BLOCK_WHEN_BLIND,
        Feature.LOG,
        Feature.UNKNOWN_KEY,
    }


@pytest.mark.parametrize("feature", [each for each in ALWAYS if each.kind is FeatureKind.DOOR], ids=str)
def test_a_mesh_that_keeps_no_door_is_refused_on_both_ways_in(feature: Feature) -> None:
    sidecar = mesh_paths()[0].hops[-1]
    told = refused(plan_of(), with_table({**sidecar.table, feature: Cannot("it does not", "x")}))
    assert {code for code, _ in told} == {feature.code.number}
    assert any("`workload -> sidecar`" in message for _, message in told)


def test_hops_that_each_see_a_part_decide_nothing() -> None:
    """One grant passes the first hop by its role, another the second by its condition: no grant permits the sum."""
    plan = plan_of(
        grants=[
            {
                "id": "staff",
                "roles": ["r"],
                "models": ["a"],
                "actions": ["infer"],
                "when": {"person": "required"},
            },
            {"id": "all", "roles": ["r"], "models": ["b"], "actions": ["infer"]},
        ]
    )
    client, _ = mesh_paths()
    edge, decision, sidecar = client.hops
    blind = Hop("decision service", {**decision.table, Feature.CONDITIONS: Cannot("it sees roles", "x")})
    seeing = Hop("sidecar", {**sidecar.table, Feature.CONDITIONS: Can("it sees conditions")})
    path = replace(client, hops=(edge, blind, seeing))
    assert enforcers(path, Feature.CONDITIONS) and enforcers(path, Feature.ROLES), "each is seen by somebody"
    told = refused(plan, [SitePath(path, (("a", "v1"), ("b", "v1")))])
    assert [code for code, _ in told] == ["MW1039"]


def test_whom_a_proxy_speaks_for_is_no_loss() -> None:
    plan = plan_of(edge={**policy_of()["edge"], "trusted_proxies": ["10.0.0.0/8"]})
    placed = require_harmless(plan, site_of())
    told = refused(placed.plan, list(site_paths(placed)))
    assert {code for code, _ in told} == {"MW1006"} and "edge.trusted_proxies" in told[0][1]


def test_what_no_table_knows_is_refused() -> None:
    client, _ = mesh_paths()
    plan = replace(plan_of(), requires={**ALWAYS, Feature.UNKNOWN_KEY: ("new.key",)})
    instance = Path("operator", Way.BESIDE, (Hop("instance", {Feature.UNKNOWN_KEY: Cannot("no", "x")}),))
    told = refused(plan, [SitePath(client, (("a", "v1"), ("b", "v1"))), SitePath(instance, ())])
    assert [code for code, _ in told] == ["MW1032"]


# --- losses -----------------------------------------------------------------------------------------------------------


def test_a_loss_is_told_with_its_keys_and_what_holds_instead() -> None:
    losses = report_of(plan_of()).losses
    (timeout,) = [each for each in losses if each.feature is Feature.TIMEOUT]
    assert timeout.path == TO_SIDECAR, "a guard elsewhere has it"
    assert timeout.keys == ("models.a.timeout", "models.a.max_duration")
    assert "the edge's longest timeout holds" in timeout.sentence
    assert [said.split(" ")[0] for said in timeout.why] == ["edge", "decision", "sidecar"]


def test_strict_takes_no_loss_and_names_each() -> None:
    with pytest.raises(PolicyInvalid) as caught:
        report_of(plan_of(), strict=True)
    assert caught.value.exit_code is Exit.UNSAFE
    numbers = [each.code.number for each in caught.value.problems]
    assert numbers[-1] == "MW5023" and Feature.TIMEOUT.code.number in numbers
    assert any("sidecar cannot" in each.remedy for each in caught.value.problems)


def test_strict_takes_a_site_that_loses_nothing() -> None:
    placed = require_harmless(plan_of(), None)
    placed = replace(placed, places={})
    assert not describe_coverage(placed.plan, site_paths(placed), strict=True).losses


def test_a_hosted_endpoint_is_told_as_one_that_nobody_reaches() -> None:
    report = describe_coverage(plan_of(), with_table(mesh_paths()[0].hops[-1].table), (("judge", "r1"),))
    assert [each.feature.code.number for each in report.losses][-1] == "MW1012"
    assert "nothing leads to judge/r1 yet" in list(report_lines(report))


# --- the report -------------------------------------------------------------------------------------------------------


def test_a_report_tells_of_every_feature_what_every_hop_does() -> None:
    document = report_json(report_of(plan_of()))
    for path in document["paths"]:
        asked = {each["feature"] for hop in path["hops"] for each in (*hop["enforces"], *hop["leaves"])}
        for hop in path["hops"]:
            assert {each["feature"] for each in (*hop["enforces"], *hop["leaves"])} == asked
        left = [each for hop in path["hops"] for each in hop["leaves"] if not each["taken_by"]]
        lost = {each["feature"] for each in document["losses"] if each["path"] == path["path"]}
        assert {each["feature"] for each in left} == lost


def test_who_takes_what_a_sidecar_leaves() -> None:
    hops = hops_of(report_json(report_of(plan_of())), TO_SIDECAR)
    leaves = {each["feature"]: each for each in hops["sidecar"]["leaves"]}
    assert leaves["canonical request"]["taken_by"] == ["edge"]
    assert leaves["token age"]["taken_by"] == ["decision service"]
    assert (
        leaves["timeout"]["taken_by"] == [] and not leaves["timeout"]["later"] and leaves["timeout"]["link"]
    )
    assert leaves["max body"]["taken_by"] == ["edge"]


def test_a_guard_elsewhere_learns_of_nobody_who_is_revoked() -> None:
    """Its files are shipped by whatever ships files; the guards of this machine are told at once."""
    hops = hops_of(report_json(report_of(plan_of())), TO_GUARD)
    leaves = {each["feature"]: each["taken_by"] for each in hops["guard elsewhere"]["leaves"]}
    assert leaves["revoked subject"] == leaves["revoked agent"] == ["decision service"]


def test_the_shape_of_a_report_is_kept() -> None:
    """Programs read it: a key that goes, or changes its kind, is another shape."""
    document = report_json(report_of(plan_of()))
    path = document["paths"][0]
    hop = path["hops"][0]
    assert _shape(document) == {"paths": list, "losses": list, "unreached": list}
    assert _shape(path) == {"path": str, "way": str, "versions": list, "hops": list}
    assert _shape(hop) == {"hop": str, "enforces": list, "leaves": list}
    assert _shape(hop["enforces"][0]) == {"feature": str, "how": str}
    left = {"feature": str, "why": str, "later": bool, "link": str, "taken_by": list}
    assert _shape(hop["leaves"][0]) == left
    loss = {"code": str, "feature": str, "path": str, "keys": list, "why": list, "instead": str}
    assert _shape(document["losses"][0]) == loss
    assert path["way"] == "whole" and path["versions"] == ["a/v1"]


def _shape(document: Mapping[str, Any]) -> dict[str, type]:
    return {key: type(value) for key, value in document.items()}


def test_people_read_of_each_hop_what_it_leaves_to_whom() -> None:
    lines = list(report_lines(report_of(plan_of())))
    assert f"{TO_SIDECAR}: from a client to a server, for a/v1" in lines
    assert any(line.startswith("    leaves to edge: canonical request") for line in lines)
    assert any(line.startswith("! MW1066 `models.a.timeout`") for line in lines)


def test_many_versions_are_counted_and_not_all_named() -> None:
    models = {
        f"m{n}": {"versions": {"v1": {"server": "plain", "url": f"http://127.0.0.1:{8100 + n}"}}}
        for n in range(20)
    }
    placed = require_harmless(plan_of(models=models), None)
    lines = list(report_lines(describe_coverage(placed.plan, site_paths(placed))))
    assert lines[0].endswith("m0/v1, m1/v1, m10/v1, m11/v1, m12/v1, m13/v1, m14/v1, m15/v1, and 12 more")


def test_every_feature_of_a_path_is_spoken_of() -> None:
    assert set(mesh_paths()[0].hops[0].table) == set(ON_PATHS)


def test_twice_the_models_cost_twice_as_much_to_render() -> None:
    def spent(count: int) -> int:
        models = {
            f"m{n}": {"versions": {"v1": {"server": "plain", "url": f"http://127.0.0.1:{8100 + n}"}}}
            for n in range(count)
        }
        grants = [
            {"id": f"g{n}", "roles": ["r"], "models": [f"m{n}"], "actions": ["infer"]} for n in range(count)
        ]
        plan = plan_of(models=models, grants=grants)
        return cost(lambda: render_site(plan, None, Wishes("istio"), lua={}))

    spent(120)  # how a text is spelled is remembered
    assert_grows(spent, 60)
