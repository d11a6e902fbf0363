"""A policy runs only where each path enforces all that it asks for, and one hop decides. Tables written by hand."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path as FilePath
from types import MappingProxyType

import pytest

from meshward.apply.local_paths import LOCAL
from meshward.kit.errors import Problem
from meshward.plan.coverage import Hop, Path, Way, enforcers, find_unenforced
from meshward.plan.features import (
    ALWAYS,
    ON_PATHS,
    Can,
    Cannot,
    Feature,
    FeatureKind,
    NotYet,
    Requires,
    Support,
    Table,
    residue,
)
from meshward.plan.support_page import support_text
from meshward.render.paths import mesh_paths

WHY = Cannot("it is made so", "concepts.md")
EVERYTHING: Requires = MappingProxyType({feature: (f"place.{feature.name}",) for feature in Feature})
ALL: Table = MappingProxyType({feature: Can("in full") for feature in Feature})


def table(support: Support, *features: Feature, base: Table = ALL) -> Table:
    return {**base, **dict.fromkeys(features, support)}


def two_hops(edge: Table, guard: Table) -> list[Path]:
    """As on one machine: clients by both hops, workloads straight to the guard, and the instance."""
    behind = Hop("guard", guard)
    return [
        Path("client", Way.WHOLE, (Hop("edge", edge), behind)),
        Path("workload", Way.ROUND, (behind,)),
        Path("operator", Way.BESIDE, (Hop("instance", edge),)),
    ]


def asked(*features: Feature) -> Requires:
    return {feature: (f"place.{feature.name}",) for feature in features}


def codes(problems: list[Problem]) -> list[str]:
    return [problem.code.number for problem in problems]


def test_hops_that_do_everything_are_enough() -> None:
    assert find_unenforced(EVERYTHING, two_hops(ALL, ALL)) == []


@pytest.mark.parametrize("feature", Feature, ids=lambda each: each.name)
def test_what_no_hop_enforces_is_refused_by_name(feature: Feature) -> None:
    nobody = table(WHY, feature)
    problems = find_unenforced(EVERYTHING, two_hops(nobody, nobody))
    assert set(codes(problems)) == {feature.code.number}
    for problem in problems:
        assert problem.message.startswith(f"`place.{feature.name}`: `") and feature.title in problem.message
        assert str(WHY) in problem.message, "each hop's reason, with its link"
        assert problem.severity == "error" and problem.remedy


@pytest.mark.parametrize("feature", Feature, ids=lambda each: each.name)
def test_the_local_paths_prove_it_or_name_it(feature: Feature) -> None:
    """Take what a hop of this machine enforces from every hop: `up` refuses, by this feature's code."""
    nobody = [
        replace(path, hops=tuple(Hop(hop.name, table(WHY, feature, base=hop.table)) for hop in path.hops))
        for path in LOCAL
    ]
    assert feature.code.number in codes(find_unenforced(asked(feature), nobody))


@pytest.mark.parametrize("feature", ALWAYS, ids=lambda each: each.name)
def test_what_no_key_asks_for_is_asked_all_the_same(feature: Feature) -> None:
    nobody = table(WHY, feature)
    problems = find_unenforced({}, two_hops(nobody, nobody))
    assert set(codes(problems)) == {feature.code.number}
    assert all(problem.message.startswith("every request: ") for problem in problems)


@pytest.mark.parametrize("weak", [WHY, NotYet("later")], ids=["cannot", "not yet"])
def test_what_one_hop_leaves_another_may_enforce(weak: Support) -> None:
    for feature in (
        each
        for each in Feature
        if each.kind in (FeatureKind.PASSAGE, FeatureKind.ENTRY, FeatureKind.DECISION)
    ):
        assert find_unenforced(EVERYTHING, two_hops(ALL, table(weak, feature, Feature.CALLS))) == [], feature
    for feature in (each for each in Feature if each.kind in (FeatureKind.PASSAGE, FeatureKind.DOOR)):
        assert find_unenforced(EVERYTHING, two_hops(table(weak, feature), ALL)) == [], feature


def test_what_one_of_two_ways_enforces_is_refused_on_the_other() -> None:
    rates = table(WHY, Feature.REQUEST_RATE)
    there, here = Hop("counting", ALL), Hop("gateway", rates)
    behind = Hop("guard", rates)
    ways = [Path("client", Way.WHOLE, (there, behind)), Path("partner", Way.WHOLE, (here, behind))]
    [problem] = find_unenforced(asked(Feature.REQUEST_RATE), ways)
    assert problem.code.number == Feature.REQUEST_RATE.code.number
    assert "`partner -> gateway -> guard` does not enforce request rate" in problem.message
    assert "counting" not in problem.message


def test_a_way_that_is_to_come_is_no_excuse_on_a_path_where_another_already_has_it() -> None:
    """Else `not yet` of one hop would hide that another path has it, and which one has not."""
    ways = [
        Path("client", Way.WHOLE, (Hop("edge", ALL),)),
        Path("partner", Way.WHOLE, (Hop("gateway", table(NotYet("later"), Feature.CACHE)),)),
    ]
    [problem] = find_unenforced(asked(Feature.CACHE), ways)
    assert "`partner -> gateway`" in problem.message and "gateway does not yet: later" in problem.message


@pytest.mark.parametrize(
    "door", [each for each in Feature if each.kind is FeatureKind.DOOR], ids=lambda each: each.name
)
def test_a_door_that_only_the_edge_guards_is_open_to_who_goes_round_it(door: Feature) -> None:
    problems = find_unenforced({}, two_hops(ALL, table(WHY, door)))
    assert codes(problems) == [door.code.number]
    assert "`workload -> guard`" in problems[0].message


def test_behind_closed_doors_only_the_edge_comes_and_its_limits_count() -> None:
    needs = asked(Feature.REQUEST_RATE, Feature.REVOKED_STREAM, Feature.ROLES)
    guard = table(WHY, Feature.CALLS, *needs)
    assert find_unenforced(needs, two_hops(ALL, guard)) == []


def test_where_models_may_call_one_another_the_edges_limits_count_no_more() -> None:
    needs = asked(Feature.REQUEST_RATE, Feature.ROLES, Feature.CALLS)
    guard = table(WHY, Feature.REQUEST_RATE, Feature.ROLES)
    problems = find_unenforced(needs, two_hops(ALL, guard))
    assert codes(problems) == [Feature.REQUEST_RATE.code.number], "roles come in the token, counts do not"
    assert "`workload -> guard`" in problems[0].message


def test_every_hop_must_renew_what_is_its_own() -> None:
    [problem] = find_unenforced({}, two_hops(table(NotYet("later"), Feature.ROTATION), ALL))
    assert problem.code.number == Feature.ROTATION.code.number
    assert "edge does not yet: later" in problem.message


def test_hops_that_share_a_decision_are_refused_although_each_fact_is_seen_by_one() -> None:
    """Alice may use `small`, Bob may use `big`: who sees people lets Alice pass, who sees models lets `big` pass."""
    people = table(WHY, Feature.DENIES)
    models = table(WHY, Feature.ROLES, Feature.CONDITIONS)
    [problem] = find_unenforced(EVERYTHING, two_hops(people, models))
    assert problem.code.number == "MW1039"
    assert "edge does not see denies; guard does not see roles, conditions" in problem.message


def test_a_fact_that_the_policy_does_not_ask_about_splits_nothing() -> None:
    people = table(WHY, Feature.DENIES)
    models = table(WHY, Feature.ROLES)
    assert find_unenforced(asked(Feature.ROLES), two_hops(people, models)) == []
    assert codes(find_unenforced(asked(Feature.ROLES, Feature.DENIES), two_hops(people, models))) == [
        "MW1039"
    ]


def test_each_place_is_told_and_none_below_one_that_is() -> None:
    needs: Requires = {
        Feature.AGENTS: ("agents",),
        Feature.TOKEN_BUDGET: (
            "agents.a.limits.tokens",
            "grants[g].limits.tokens",
            "grants[h].limits.tokens",
        ),
    }
    nobody = table(NotYet("later"), Feature.AGENTS, Feature.TOKEN_BUDGET)
    told = [problem.message for problem in find_unenforced(needs, two_hops(nobody, nobody))]
    assert told == ["`agents`: later", "`grants[g].limits.tokens`: later", "`grants[h].limits.tokens`: later"]


def test_nothing_is_proven_of_no_path() -> None:
    with pytest.raises(ValueError, match="no path"):
        find_unenforced({}, LOCAL[1:])


def test_who_enforces_what_on_this_machine() -> None:
    """Written by hand from what the tests of the real proxies show; a table that claims more, or less, differs."""
    client = LOCAL[0]
    expected: Mapping[Feature, tuple[str, ...]] = {
        Feature.CALLER: ("guard",),
        Feature.ROLES: ("decision service",),
        Feature.CANONICAL_REQUEST: ("edge",),
        Feature.REVOKED_SUBJECT: ("decision service", "guard"),
        Feature.REVOKED_AGENT: ("decision service", "guard"),
        Feature.REVOKED_TOKEN: ("decision service",),
        Feature.REVOKED_STREAM: ("edge",),
        Feature.REQUEST_RATE: ("edge",),
        Feature.TIMEOUT: ("guard",),
        Feature.MAX_BODY: ("edge", "guard"),
        Feature.AGENTS: (),
    }
    assert {feature: enforcers(client, feature) for feature in expected} == expected


def test_the_residue_of_a_hop_is_what_is_asked_and_it_does_not_do() -> None:
    weak = table(WHY, Feature.ROLES, Feature.REQUEST_RATE, Feature.TIMEOUT)
    left = residue(weak, (Feature.CALLER, Feature.REQUEST_RATE, Feature.ROLES))
    assert [each.feature for each in left] == [Feature.ROLES, Feature.REQUEST_RATE]
    assert all(each.support == WHY for each in left)


ROOT = FilePath(__file__).parents[2]
HOPS = {hop.name: hop for path in LOCAL for hop in path.hops}


@pytest.mark.parametrize("hop", HOPS.values(), ids=lambda hop: hop.name)
def test_every_table_speaks_of_every_feature(hop: Hop) -> None:
    beside = any(hop in path.hops for path in LOCAL if path.way is Way.BESIDE)
    assert set(hop.table) == (set(Feature) - set(ON_PATHS) if beside else set(ON_PATHS))
    for feature, support in hop.table.items():
        assert len(str(support).removeprefix("can: ")) > 8, feature


@pytest.mark.parametrize("hop", HOPS.values(), ids=lambda hop: hop.name)
def test_every_cannot_leads_to_where_it_is_written(hop: Hop) -> None:
    for link in {support.link for support in hop.table.values() if isinstance(support, Cannot)}:
        if link.startswith("https://"):
            continue
        page, _, anchor = link.partition("#")
        titles = re.findall(r"^#+ (.+)$", (ROOT / "docs" / page).read_text(), re.MULTILINE)
        anchors = {re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-") for title in titles}
        assert not anchor or anchor in anchors, link


def test_the_page_is_what_the_tables_say() -> None:
    assert (ROOT / "docs" / "support.md").read_text() == support_text((*LOCAL, *mesh_paths())), (
        "run `make docs`"
    )
