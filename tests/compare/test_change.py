"""Who gains, who loses, and what widens: read off two plans."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from meshward.compare.change import Change, compare
from meshward.plan.ir import Plan
from meshward.plan.resolve import resolve
from meshward.policy.schema import Policy
from tests.cost import assert_grows, cost

BASE: dict[str, Any] = {
    "version": 1,
    "trust_domain": "one.test",
    "issuers": {"corp": {"profile": "oidc", "issuer": "https://idp.test", "audience": "a"}},
    "roles": {
        "user": [{"issuer": "corp", "group": "users"}],
        "boss": [{"issuer": "corp", "group": "bosses"}],
    },
    "servers": {"mine": {"infer": ["POST /run"], "manage": ["POST /stop"]}},
    "models": {
        name: {"versions": {"v1": {"server": "mine", "url": f"unix:/run/{name}.sock"}}}
        for name in ("m1", "m2")
    },
    "grants": [
        {"id": "use", "roles": ["user"], "models": "all", "actions": ["infer"]},
        {"id": "rule", "roles": ["boss"], "models": ["m1"], "actions": ["infer", "manage"]},
    ],
}


def plan_of(policy: dict[str, Any]) -> Plan:
    return resolve(Policy.model_validate(policy))


def change(edit: Any, base: dict[str, Any] = BASE) -> Change:
    policy = copy.deepcopy(base)
    edit(policy)
    return compare(plan_of(base), plan_of(policy))


def held(entries: Any) -> list[tuple[str, str, tuple[str, ...]]]:
    return [(each.role, each.permission, each.who) for each in entries]


def test_the_same_policy_changes_nothing() -> None:
    same = compare(plan_of(BASE), plan_of(BASE))
    assert same.is_empty and not (same.gained or same.lost or same.edits or same.widening)
    assert same.lines() == ["Nothing changes."]


def test_a_grant_gives_one_permission() -> None:
    grant = {"id": "more", "roles": ["boss"], "models": ["m2"], "actions": ["infer"]}
    found = change(lambda policy: policy["grants"].append(grant))
    assert held(found.gained) == [("boss", "m2.infer", ("group bosses of corp",))]
    assert found.lost == () and found.widening == ()
    assert "+ boss gains m2.infer, by more (group bosses of corp)" in found.lines()
    back = compare(plan_of({**BASE, "grants": [*BASE["grants"], grant]}), plan_of(BASE))
    assert held(back.lost) == held(found.gained) and back.gained == ()


def test_a_new_member_gains_all_that_its_role_holds() -> None:
    found = change(lambda policy: policy["roles"]["boss"].append({"issuer": "corp", "group": "deputies"}))
    assert held(found.gained) == [
        ("boss", "m1.infer", ("group deputies of corp",)),
        ("boss", "m1.manage", ("group deputies of corp",)),
    ]
    assert found.widening == ("group deputies of corp gains m1.manage, by boss",)


def test_a_role_by_another_name_gives_nobody_anything_new() -> None:
    def rename(policy: dict[str, Any]) -> None:
        policy["roles"]["person"] = policy["roles"].pop("user")
        policy["grants"][0]["roles"] = ["person"]

    found = change(rename)
    assert found.gained == found.lost == found.widening == ()
    assert {(each.what, each.name) for each in found.edits} == {
        ("role", "person"),
        ("role", "user"),
        ("grant", "use"),
    }


def test_a_deny_takes_and_its_end_gives() -> None:
    barred = {**BASE, "denies": [{"id": "no", "roles": ["user"], "models": ["m1"]}]}
    found = compare(plan_of(BASE), plan_of(barred))
    bosses = ("group users of corp and group bosses of corp",)  # they were not spoken of by their own role
    assert held(found.lost) == [
        ("user", "m1.infer", ("group users of corp",)),
        ("boss", "m1.manage", bosses),
    ]
    assert {each.how for each in found.lost} == {"the deny no stops them"}
    back = compare(plan_of(barred), plan_of(BASE))
    assert held(back.gained) == held(found.lost)
    assert {each.how for each in back.gained} == {"the deny no stops them no more"}
    assert len(back.widening) == 1


@pytest.mark.parametrize(
    ("name", "edit"),
    [
        ("manage", lambda p: p["grants"][0]["actions"].append("manage")),
        ("manage on one more model", lambda p: p["grants"][1]["models"].append("m2")),
        ("a new issuer", lambda p: p["issuers"].update(x={"profile": "oidc", "issuer": "https://x", "audience": "a"})),
        ("other keys", lambda p: p["issuers"]["corp"].update(jwks={"url": "https://idp.test/other"})),
        ("one more audience", lambda p: p["issuers"]["corp"].update(audience=["a", "b"])),
        ("a new trust domain", lambda p: p.update(trust_domain="two.test")),
        ("a managing route for users", lambda p: p["servers"].update(mine={"infer": ["POST /run", "POST /stop"]})),
    ],
)  # fmt: skip
def test_what_widens_is_marked(name: str, edit: Any) -> None:
    found = change(edit)
    assert found.widening, name
    assert any(line.startswith("! widening: ") for line in found.lines())


def _conditional() -> dict[str, Any]:
    base = copy.deepcopy(BASE)
    base["grants"][1]["when"] = {"from": ["10.0.0.0/8"]}
    return base


@pytest.mark.parametrize(
    "edit",
    [
        lambda p: p["grants"][1].pop("when"),
        lambda p: p["grants"].append({**p["grants"].pop(), "id": "renamed", "when": None}),
        lambda p: p["grants"][1].update(when={"from": ["0.0.0.0/0"]}),
    ],
)
def test_manage_under_other_conditions_is_widening(edit: Any) -> None:
    assert change(edit, _conditional()).widening


@pytest.mark.parametrize("when", [{"from": ["0.0.0.0/0", "::/0"]}, {"fresh": "10000d"}])
def test_a_condition_that_all_known_requests_meet_is_still_one(when: dict[str, Any]) -> None:
    """What is not known of a request meets no grant's condition; where that goes, whoever sends such a one gains."""
    base = copy.deepcopy(BASE)
    base["grants"][1]["when"] = when
    (gained,) = [each for each in change(lambda p: p["grants"][1].pop("when"), base).gained if each.widens]
    assert (gained.role, gained.permission) == ("boss", "m1.manage")
    assert not change(lambda p: p["grants"][1].update(when=when)).gained


def test_the_end_of_a_deny_of_manage_is_widening() -> None:
    base = {**BASE, "denies": [{"id": "out", "subjects": [{"issuer": "corp", "subject": "x"}]}]}
    assert compare(plan_of(base), plan_of(BASE)).widening


@pytest.mark.parametrize(
    "edit",
    [
        lambda p: p["grants"][0].update(limits={"requests": "5/s"}),
        lambda p: p["grants"].pop(),
        lambda p: p["models"].pop("m2") and None,
        lambda p: p["models"]["m1"].update(timeout="90s"),
        lambda p: p["servers"]["mine"].update(infer=["POST /go"]),
    ],
)
def test_what_does_not_widen_is_not_marked_but_said(edit: Any) -> None:
    found = change(edit)
    assert not found.is_empty and found.widening == () and (found.edits or found.lost)


def test_weights_are_told() -> None:
    base = copy.deepcopy(BASE)
    base["models"]["m1"]["versions"]["v2"] = {"server": "mine", "url": "unix:/run/2.sock"}
    base["models"]["m1"]["traffic"] = {"v1": 90, "v2": 10}
    found = change(lambda policy: policy["models"]["m1"].update(traffic={"v1": 50, "v2": 50}), base)
    assert [(edit.name, edit.sentence) for edit in found.edits] == [
        ("m1/v1", "changed: weight: 90 -> 50"),
        ("m1/v2", "changed: weight: 10 -> 50"),
    ]


def test_the_digest_names_the_change_and_what_it_stands_on() -> None:
    def more(policy: dict[str, Any]) -> None:
        policy["grants"].append({"id": "more", "roles": ["boss"], "models": ["m2"], "actions": ["infer"]})

    other = {**copy.deepcopy(BASE), "models": {**BASE["models"], "m3": BASE["models"]["m1"]}}
    assert change(more).digest == change(more).digest
    assert len({change(more).digest, change(more, other).digest, compare(None, plan_of(BASE)).digest}) == 3


def _grown(number: int) -> tuple[Plan, Plan]:
    """A plan of so many models and grants, each grant of a tenth of the models; and one with a grant more."""
    roles = {f"r{n}": [{"issuer": "corp", "group": f"g{n}"}] for n in range(50)}
    models = {f"m{n}": {**BASE["models"]["m1"], "labels": {"n": str(n % 10)}} for n in range(number)}
    grants = [
        {
            "id": f"g{n}",
            "roles": [f"r{n % 50}"],
            "models": {"labels": {"n": str(n % 10)}},
            "actions": ["infer"],
        }
        for n in range(number)
    ]
    policy = {**BASE, "roles": roles, "models": models, "grants": grants}
    more = {**policy, "grants": [*grants, {**grants[0], "id": "last", "actions": ["manage"]}]}
    return plan_of(policy), plan_of(more)


def test_a_thousand_models_grants_and_fifty_roles_are_compared() -> None:
    assert len(compare(*_grown(1000)).gained) == 100


def test_comparing_costs_what_the_grants_name_together() -> None:
    plans = {number: _grown(number) for number in (100, 200)}  # 4 times as many pairs of grant and model
    assert_grows(lambda number: cost(lambda: compare(*plans[number])), 100, most=4.2)


def _many(number: int) -> dict[str, Any]:
    """So many models, each with a label of its own; a hundred roles, each with a grant of the caller's own models."""
    return {
        **BASE,
        "roles": {f"r{n}": [{"issuer": "corp", "group": f"g{n}"}] for n in range(100)}
        | {"out": [{"issuer": "corp", "group": "leavers"}, {"issuer": "corp", "group": "contractors"}]},
        "models": {
            f"m{n}": {
                "labels": {"tenant": f"t{n}"},
                "versions": {"v1": {"server": "mine", "url": f"unix:/run/{n}.sock"}},
            }
            for n in range(number)
        },
        "grants": [
            {
                "id": f"g{n}",
                "roles": [f"r{n}"],
                "models": {"same": ["tenant"]},
                "actions": ["infer", "manage"],
            }
            for n in range(100)
        ],
        "denies": [{"id": "no", "roles": ["out"], "models": "all"}],
    }


@pytest.mark.parametrize(
    "edit",
    [
        lambda p: p["models"]["m1"].update(timeout="90s"),
        lambda p: p["models"]["m1"]["labels"].update(tenant="t2"),
        lambda p: p["roles"]["out"].pop(),
        lambda p: p["grants"][7].update(when={"from": ["10.0.0.0/8"]}),
        lambda p: [
            each["versions"]["v1"].update(url=f"unix:/new{n}") for n, each in enumerate(p["models"].values())
        ],
    ],
)
def test_many_models_cost_what_each_costs(edit: Any) -> None:
    """Models under the same rules are asked about once; a hundred roles are not, each time."""
    plans = {}
    for number in (100, 200):
        policy = _many(number)
        edit(edited := copy.deepcopy(policy))
        plans[number] = plan_of(policy), plan_of(edited)
    assert_grows(lambda number: cost(lambda: compare(*plans[number])), 100)
    assert cost(lambda: compare(*plans[200])) < 5_000 * 200


SECRET: dict[str, Any] = {
    **BASE,
    "credentials": {"hf": {"from": "file", "path": "/k"}, "other": {"from": "env", "name": "OTHER"}},
    "models": {
        name: {"versions": {"v1": {"server": "mine", "url": f"unix:/run/{name}.sock", "credential": "hf"}}}
        for name in ("m1", "m2")
    }
    | {
        "own": {
            "versions": {"v1": {"server": "mine", "url": "unix:/run/own.sock", "credential": "generated"}}
        }
    },
}


def replica(policy: dict[str, Any], model: str, url: str) -> None:
    policy["models"][model]["versions"]["v1"]["replicas"] = [url]


@pytest.mark.parametrize(
    ("edit", "sentences"),
    [
        (lambda p: replica(p, "m1", "unix:/run/m2.sock"), []),  # it gets that secret already
        (
            lambda p: replica(p, "m1", "unix:/run/x.sock"),
            ["the secret hf, from file /k, is sent to unix:/run/x.sock"],
        ),
        (
            lambda p: p["models"]["m1"]["versions"]["v1"].update(credential="other"),
            ["the secret other, from env OTHER, is sent to unix:/run/m1.sock"],
        ),
        (
            lambda p: p["credentials"].update(hf={"from": "command", "command": ["/bin/get", "s3cret"]}),
            [
                f"the secret hf, from command /bin/get, is sent to unix:/run/{name}.sock"
                for name in ("m1", "m2")
            ],
        ),
        (lambda p: p["models"]["m1"]["versions"]["v1"].update(credential="generated"), []),
        (
            lambda p: p["models"]["own"]["versions"]["v1"].update(url="http://93.184.216.34:80"),
            ["the secret generated, from what is kept for own/v1, is sent to http://93.184.216.34:80"],
        ),
        (lambda p: p["models"]["m1"]["versions"]["v1"].pop("credential"), []),
    ],
)
def test_a_secret_that_goes_somewhere_new_is_widening(edit: Any, sentences: list[str]) -> None:
    found = change(edit, SECRET)
    assert [each for each in found.widening if "secret" in each] == sentences and not found.is_empty
    assert "s3cret" not in " ".join(found.lines())


def test_servers_that_come_and_go_are_named() -> None:
    lines = change(lambda p: replica(p, "m1", "unix:/run/x.sock")).lines()
    assert "~ version m1/v1: changed: replicas: +unix:/run/x.sock" in lines


def test_what_a_server_calls_the_model_is_named() -> None:
    """With the same url, and the same grants, callers come to use another model."""
    given = change(lambda p: p["models"]["m1"]["versions"]["v1"].update(model="secret-lora")).lines()
    assert "~ version m1/v1: changed: model: none -> `secret-lora`" in given


def _through_an_agent() -> dict[str, Any]:
    """Bosses change each model; for them an agent does, where the model's label is theirs."""
    base = copy.deepcopy(BASE)
    base["issuers"]["corp"]["attributes"] = {"tenant": "/org"}
    base["workloads"] = {"helper": {"id": "/helper"}}
    base["models"]["m1"]["labels"] = {"tenant": "t1"}
    base["grants"][1]["models"] = "all"
    base["agents"] = {
        "helper": {
            "credential": {"workload": "helper"},
            "acts_for": ["boss"],
            "models": {"same": ["tenant"]},
            "actions": ["manage"],
        }
    }
    return base


def _swap_servers(policy: dict[str, Any]) -> None:
    one, two = (policy["models"][name]["versions"]["v1"] for name in ("m1", "m2"))
    one["url"], two["url"] = two["url"], one["url"]


@pytest.mark.parametrize(
    "edit",
    [lambda p: p["models"]["m1"]["labels"].update(tenant="t2"), _swap_servers],
    ids=["label", "server"],
)
def test_what_an_agent_comes_to_do_for_somebody_is_theirs(edit: Any) -> None:
    """The grants give the same to the same people as before; through whom they may use it differs."""
    found = change(edit, _through_an_agent())
    (gained,) = [each for each in found.gained if each.permission == "m1.manage"]
    assert gained.role == "boss" and "through the agent helper" in gained.how
    assert len(found.widening) == 1


def test_what_a_new_model_is_is_told_with_its_values() -> None:
    model = {
        "labels": {"tier": "gpu"},
        "cache": {"ttl": "1m"},
        "timeout": "5m",
        "versions": {
            "v1": {
                "server": "mine",
                "url": "unix:/run/m3.sock",
                "pass": ["subject"],
                "credential": "generated",
            }
        },
    }
    told = {each.name: each.sentence for each in change(lambda p: p["models"].update(m3=model)).edits}
    for value in ("labels +tier=gpu", "cache 1m for identity", "timeout 5m", "max_body 2m"):
        assert value in told["m3"]
    for value in ("unix:/run/m3.sock", "+POST /stop (manage)", "credential generated", "pass subject"):
        assert value in told["m3/v1"]
