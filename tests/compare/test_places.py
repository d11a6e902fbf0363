"""A permission is worth what its servers do: made-up policies in which models, servers and routes change places."""

from __future__ import annotations

import copy
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshward.compare.change import Change, compare
from meshward.decide.decide import Decider
from meshward.decide.types import Identity, Permit, Request
from meshward.plan.ir import Plan
from meshward.plan.resolve import resolve
from meshward.policy.schema import Policy

KINDS = {
    "one": {"infer": ["POST /run"], "manage": ["POST /stop"]},
    "two": {"infer": ["POST /stop"], "describe": ["POST /run"]},
    "three": {"manage": ["POST /run", "POST /stop"]},
}
WHO = [Identity("corp", "p", groups) for groups in ((), ("g1",), ("g2",), ("g1", "g2"))]
Reach = dict[tuple[str, str], set[str]]
"""By server and route: the permissions by which somebody reaches it."""


def plan_of(policy: dict[str, Any]) -> Plan:
    return resolve(Policy.model_validate(policy))


@st.composite
def policies(draw: st.DrawFn) -> dict[str, Any]:
    names = draw(st.lists(st.sampled_from(["m1", "m2", "m3"]), min_size=1, max_size=3, unique=True))
    urls = draw(st.permutations(["unix:/a", "unix:/b", "unix:/c"]))
    rules = st.fixed_dictionaries(
        {
            "roles": st.lists(st.sampled_from(["r1", "r2"]), min_size=1, max_size=2, unique=True),
            "models": st.one_of(st.just("all"), st.just([names[0]])),
            "actions": st.lists(
                st.sampled_from(["infer", "describe", "manage"]), min_size=1, max_size=3, unique=True
            ),
        }
    )
    grants, denies = draw(st.lists(rules, min_size=1, max_size=3)), draw(st.lists(rules, max_size=1))
    return {
        "version": 1,
        "trust_domain": "one.test",
        "issuers": {"corp": {"profile": "oidc", "issuer": "https://i", "audience": "a"}},
        "roles": {f"r{n}": [{"issuer": "corp", "group": f"g{n}"}] for n in (1, 2)},
        "servers": KINDS,
        "models": {
            name: {"versions": {"v1": {"server": draw(st.sampled_from(list(KINDS))), "url": url}}}
            for name, url in zip(names, urls, strict=False)
        },
        "grants": [{"id": f"g{n}"} | each for n, each in enumerate(grants)],
        "denies": [{"id": f"d{n}"} | each for n, each in enumerate(denies)],
    }


@st.composite
def pairs(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, Any]]:
    old, other = draw(policies()), draw(policies())
    parts = draw(st.lists(st.sampled_from(["models", "servers", "grants", "denies"]), min_size=1, max_size=2))
    new = {**old, **{part: other[part] for part in parts}}
    if "models" not in parts:  # then what grants name may not be there
        new["grants"] = [{**each, "models": old["grants"][0]["models"]} for each in new["grants"]]
        new["denies"] = [{**each, "models": "all"} for each in new["denies"]]
    else:
        new["grants"] = [{**each, "models": "all"} for each in new["grants"]]
        new["denies"] = [{**each, "models": "all"} for each in new["denies"]]
    return old, new


def reached(plan: Plan, who: Identity) -> Reach:
    decider, found = Decider(plan), Reach()
    for model in plan.models.values():
        for version, (route, action) in product(model.versions, model.versions[0].routes.items()):
            permit = decider.decide(who, Request(model.name, action, 0))
            if isinstance(permit, Permit):
                found.setdefault((str(version.url), str(route)), set()).add(f"{model.name}.{action}")
    return found


def meanings(plan: Plan) -> dict[tuple[str, str], str]:
    return {
        (str(version.url), str(route)): action
        for model in plan.models.values()
        for version in model.versions
        for route, action in version.routes.items()
    }


@settings(max_examples=150)
@given(pairs())
def test_whoever_reaches_more_of_a_server_gains(pair: tuple[dict[str, Any], dict[str, Any]]) -> None:
    old, new = map(plan_of, pair)
    change, known = compare(old, new), meanings(old)
    said = {each.permission for each in change.gained}
    news = [
        (place, names)
        for who in WHO
        for place, names in reached(new, who).items()
        if place not in reached(old, who)
    ]
    for place, names in news:
        managing = known.get(place) == "manage" or any(name.endswith(".manage") for name in names)
        if place in known or managing:
            assert names & said, (place, names, change.lines())
        assert change.widening or not managing, (place, names, change.lines())
    by_name = [
        name
        for who in WHO
        for name in set().union(*reached(new, who).values()) - set().union(*reached(old, who).values())
    ]
    assert bool(said) <= bool(news or by_name), change.lines()


BASE: dict[str, Any] = {
    "version": 1,
    "trust_domain": "one.test",
    "issuers": {"corp": {"profile": "oidc", "issuer": "https://i", "audience": "a"}},
    "roles": {f"r{n}": [{"issuer": "corp", "group": f"g{n}"}] for n in (1, 2)},
    "servers": {"mine": {"infer": ["POST /run"], "body_model": "selects"}},
    "models": {
        name: {
            "versions": {"v1": {"server": "mine", "url": "http://127.0.0.1:8000", "model": f"served-{name}"}}
        }
        for name in ("m1", "m2")
    },
    "grants": [
        {"id": f"g{n}", "roles": [f"r{n}"], "models": [f"m{n}"], "actions": ["infer"]} for n in (1, 2)
    ],
}


def change(edit: Any) -> Change:
    policy = copy.deepcopy(BASE)
    edit(policy)
    return compare(plan_of(BASE), plan_of(policy))


@pytest.mark.parametrize(
    "edit",
    [
        lambda p: p["models"]["m1"]["versions"]["v1"].update(model="served-m2"),
        lambda p: (
            p["servers"]["mine"].update(body_model="ignores")
            or p["models"]["m1"]["versions"]["v1"].pop("model")
        ),
        lambda p: (
            p["models"]["m1"].update(aliases=["served-m2"])
            or p["models"]["m1"]["versions"]["v1"].pop("model")
        ),
    ],
)
def test_another_model_of_a_shared_server_is_another_place(edit: Any) -> None:
    found = change(edit)
    assert [(each.permission, each.who) for each in found.gained if each.role == "r1"] == [
        ("m1.infer", ("group g1 of corp",))
    ]
    assert "http://" not in found.gained[0].how and "localhost:8000" in found.gained[0].how


def test_another_spelling_of_a_server_is_the_same_place() -> None:
    assert (
        change(lambda p: p["models"]["m1"]["versions"]["v1"].update(url="http://localhost:8000/")).gained
        == ()
    )


def moved(edit: Any, base: dict[str, Any]) -> list[tuple[str, tuple[str, ...]]]:
    """What comes to members of r1 by a change of `base`."""
    policy = copy.deepcopy(base)
    edit(policy)
    found = compare(plan_of(base), plan_of(policy)).gained
    return [(each.permission, each.who) for each in found if each.role == "r1"]


def other(edit: Any) -> dict[str, Any]:
    policy = copy.deepcopy(BASE)
    edit(policy)
    return policy


def test_a_new_name_at_a_server_of_others_leads_to_what_is_theirs() -> None:
    apart = other(lambda p: p["models"]["m1"]["versions"]["v1"].update(url="http://127.0.0.1:8001"))
    shared = {"url": "http://127.0.0.1:8000", "model": "never-named"}
    assert moved(lambda p: p["models"]["m1"]["versions"]["v1"].update(shared), apart) == [
        ("m1.infer", ("group g1 of corp",))
    ]


def test_who_may_leave_out_the_name_gets_what_only_others_got_so() -> None:
    unnamed = other(lambda p: p["models"]["m2"]["versions"]["v1"].pop("model"))
    assert moved(lambda p: p["models"]["m1"]["versions"]["v1"].pop("model"), unnamed) == [
        ("m1.infer", ("group g1 of corp",))
    ]


def test_who_could_name_anything_gains_nothing_by_one_name() -> None:
    def any_name(policy: dict[str, Any]) -> None:
        policy["servers"]["free"] = {"infer": ["POST /run"], "body_model": "ignores"}
        policy["models"]["m1"]["versions"]["v1"].update(server="free")
        del policy["models"]["m1"]["versions"]["v1"]["model"]

    named = {"server": "mine", "model": "served-m2"}
    assert moved(lambda p: p["models"]["m1"]["versions"]["v1"].update(named), other(any_name)) == []
