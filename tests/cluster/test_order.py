"""No state between two meshes permits what neither of them does: tried over whole meshes, and each rule by itself."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from meshward.cluster.manifest import Key, by_key, key_of
from meshward.cluster.order import Phase, Step, plan_steps, states
from meshward.cluster.permissions import atoms, with_atoms
from tests.cluster.oracle import AUDIENCES, PATHS, ROOT, permitted

Body = dict[str, Any]
SELECTORS: list[Body] = [
    {},
    {"selector": {"matchLabels": {"app": "a"}}},
    {"selector": {"matchLabels": {"app": "a", "version": "v2"}}},
    {"selector": {"matchLabels": {"app": "b"}}},
]


def body(kind: str, name: str, spec: Body, namespace: str = "models") -> Body:
    version = (
        "networking.istio.io/v1" if kind in ("DestinationRule", "VirtualService") else "security.istio.io/v1"
    )
    version = "networking.istio.io/v1alpha3" if kind == "EnvoyFilter" else version
    return {
        "apiVersion": version,
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }


def keys(*names: str) -> Body:
    jwks = json.dumps({"keys": [{"kid": name} for name in names]})
    return {"jwtRules": [{"issuer": "https://edge", "jwks": jwks}]}


def rule(audience: str, *paths: str, caller: str = "edge") -> Body:
    return {
        "from": [{"source": {"principals": [caller]}}],
        "to": [{"operation": {"methods": ["POST"], "paths": list(paths)}}],
        "when": [{"key": "request.auth.audiences", "values": [audience]}],
    }


def allow(name: str, *rules: Body, selector: Body = SELECTORS[1], namespace: str = "models") -> Body:
    return body("AuthorizationPolicy", name, {**selector, "action": "ALLOW", "rules": list(rules)}, namespace)


DENY_ALL = body("AuthorizationPolicy", "default", {})
STRICT = body("PeerAuthentication", "strict", {"mtls": {"mode": "STRICT"}})

rules = st.builds(
    lambda audience, paths, caller: rule(audience, *sorted(paths), caller=caller),
    st.sampled_from(AUDIENCES),
    st.sets(st.sampled_from(PATHS), min_size=1),
    st.sampled_from(["edge", "other"]),
)
anybody = st.builds(
    lambda paths: {"to": [{"operation": {"paths": sorted(paths)}}]},
    st.sets(st.sampled_from(PATHS), min_size=1),
)
namespaces = st.sampled_from(["models", "apps", ROOT])
names = st.sampled_from(["x", "y", "z"])
policies = st.builds(
    lambda name, where, selector, action, said: body(
        "AuthorizationPolicy",
        name,
        {**selector, "action": action, **({"rules": said} if said else {})},
        where,
    ),
    names,
    namespaces,
    st.sampled_from(SELECTORS),
    st.sampled_from(["ALLOW", "ALLOW", "ALLOW", "DENY"]),
    st.lists(rules | anybody, max_size=3),
)
tokens = st.builds(
    lambda name, where, selector, said, issuer: body(
        "RequestAuthentication",
        name,
        {**selector, "jwtRules": [{**keys(*sorted(said))["jwtRules"][0], "issuer": issuer}]},
        where,
    ),
    st.sampled_from(["t", "u"]),
    namespaces,
    st.sampled_from(SELECTORS),
    st.sets(st.sampled_from(["k1", "k2", "k3"]), min_size=1),
    st.sampled_from(["https://edge", "https://other"]),
)
strict = st.builds(
    lambda where, selector, mode: body(
        "PeerAuthentication", "p", {**selector, "mtls": {"mode": mode}}, where
    ),
    namespaces,
    st.sampled_from(SELECTORS),
    st.sampled_from(["STRICT", "PERMISSIVE"]),
)
filters = st.builds(
    lambda where, number: body("EnvoyFilter", "slashes", {"configPatches": [number]}, where),
    namespaces,
    st.integers(0, 1),
)
DENIED = by_key([body("AuthorizationPolicy", "default", {}, ROOT)])
guarded = st.lists(policies | tokens | strict | filters, max_size=7).map(lambda given: by_key(given) | DENIED)
meshes = guarded | st.just({})
"""Each with a default deny, as all that is rendered; or nothing yet."""


def assert_nothing_opens(old: dict[Key, Body], new: dict[Key, Body]) -> tuple[Step, ...]:
    steps = plan_steps(old, new, ROOT)
    bound = permitted(old) | permitted(new)
    *before, last = list(states(old, steps))
    for number, state in enumerate(before):
        opened = permitted(state) - bound
        assert not opened, (number, steps[number - 1], sorted(opened, key=str)[:3])
    assert last == new
    return steps


@settings(max_examples=200, deadline=None)
@given(meshes, meshes)
def test_no_state_between_two_meshes_permits_what_neither_does(
    old: dict[Key, Body], new: dict[Key, Body]
) -> None:
    assert_nothing_opens(old, new)


@settings(max_examples=60, deadline=None)
@given(meshes, meshes, meshes, st.data())
def test_whoever_goes_on_or_back_from_any_state_opens_nothing(
    old: dict[Key, Body], new: dict[Key, Body], third: dict[Key, Body], data: st.DataObject
) -> None:
    """A run that ended anywhere is followed by another one: to the same mesh, to the old one, or to a third."""
    between = list(states(old, plan_steps(old, new, ROOT)))
    here = data.draw(st.sampled_from(between))
    assert_nothing_opens(here, data.draw(st.sampled_from([old, new, third])))
    bound = permitted(old) | permitted(new)
    for back in (old, new):
        for state in states(here, plan_steps(here, back, ROOT)):
            assert permitted(state) <= bound


@settings(max_examples=60, deadline=None)
@given(st.lists(policies.filter(lambda each: each["spec"]["action"] == "ALLOW"), max_size=6), st.data())
def test_who_keeps_a_permission_has_it_all_the_way(given: list[Body], data: st.DataObject) -> None:
    """Between two meshes that differ in what policies permit, whichever policies say it."""
    guards = by_key([STRICT, body("RequestAuthentication", "t", keys("k1"))]) | DENIED
    old = by_key(given) | guards
    said = [each for one in given for each in one["spec"].get("rules", ())]
    new = {
        key: {
            **each,
            "spec": {**each["spec"], "rules": data.draw(st.lists(st.sampled_from(said), max_size=4))},
        }
        if said
        else each
        for key, each in by_key(given).items()
        if data.draw(st.booleans())
    } | guards
    kept = permitted(old) & permitted(new)
    for state in states(old, assert_nothing_opens(old, new)):
        assert kept <= permitted(state)


def test_a_first_mesh_is_closed_before_it_is_opened_and_routes_come_last() -> None:
    new = by_key(
        [
            body("VirtualService", "v", {"hosts": ["a"]}),
            body("DestinationRule", "d", {"host": "a"}),
            allow("p", rule("m.infer", "/x")),
            body("RequestAuthentication", "t", keys("k1")),
            DENY_ALL,
            STRICT,
        ]
    )
    steps = assert_nothing_opens({}, new)
    assert [(step.phase, step.key.name) for step in steps] == [
        (Phase.TIGHTEN, "default"),
        (Phase.TIGHTEN, "strict"),
        (Phase.SWITCH, "t"),
        (Phase.ALLOW, "p"),
        (Phase.ROUTE, "d"),
        (Phase.ROUTE, "v"),
    ]
    away = assert_nothing_opens(new, {})
    assert [step.key.name for step in away] == ["v", "d", "p", "t", "strict", "default"]


def test_a_key_and_a_permission_that_change_together_lend_one_another_nothing() -> None:
    """k1 is taken back, and whoever has a token by k2 gains /y: nobody has /y by k1."""
    verified = body("RequestAuthentication", "t", keys("k1", "k2"))
    old = by_key([DENY_ALL, STRICT, verified, allow("p", rule("m.infer", "/x"))])
    changed = [body("RequestAuthentication", "t", keys("k2", "k3")), allow("p", rule("m.infer", "/x", "/y"))]
    steps = assert_nothing_opens(old, old | by_key(changed))
    assert [(step.phase, step.key.name) for step in steps] == [
        (Phase.TIGHTEN, "t"),
        (Phase.ALLOW, "p"),
        (Phase.LOOSEN, "t"),
    ]


def test_keys_of_which_none_stays_find_only_what_stays() -> None:
    old = by_key(
        [*DENIED.values(), body("RequestAuthentication", "t", keys("k1")), allow("p", rule("m.infer", "/x"))]
    )
    changed = [body("RequestAuthentication", "t", keys("k3")), allow("p", rule("m.infer", "/y"))]
    steps = assert_nothing_opens(old, old | by_key(changed))
    assert [step.phase for step in steps] == [Phase.CONTRACT, Phase.SWITCH, Phase.ALLOW]


def test_plain_text_is_let_in_once_nothing_is_permitted_that_only_was() -> None:
    def anybody_at(path: str) -> Body:
        return allow("p", {"to": [{"operation": {"paths": [path]}}]})

    old = by_key([*DENIED.values(), STRICT, anybody_at("/x")])
    lax = body("PeerAuthentication", "strict", {"mtls": {"mode": "PERMISSIVE"}})
    steps = assert_nothing_opens(old, old | by_key([lax, anybody_at("/y")]))
    assert [step.key.name for step in steps] == ["p", "strict"]
    assert_nothing_opens(old | by_key([lax, anybody_at("/y")]), old)


def test_an_issuer_that_changes_finds_only_what_stays() -> None:
    other = {"jwtRules": [{**keys("k3")["jwtRules"][0], "issuer": "https://other"}]}
    old = by_key(
        [DENY_ALL, body("RequestAuthentication", "t", keys("k1")), allow("p", rule("m.infer", "/x", "/y"))]
    )
    changed = [body("RequestAuthentication", "t", other), allow("p", rule("m.infer", "/x", "/z%2f"))]
    steps = assert_nothing_opens(old, old | by_key(changed))
    assert [step.phase for step in steps] == [Phase.CONTRACT, Phase.SWITCH, Phase.ALLOW]
    contracted = steps[0].body
    assert contracted is not None
    assert {atom.path for atom in atoms(contracted)} == {"/x"}


def test_two_that_switch_at_one_workload_find_it_closed() -> None:
    other = {"jwtRules": [{**keys("k3")["jwtRules"][0], "issuer": "https://other"}]}
    slashes = body("EnvoyFilter", "slashes", {"configPatches": [1]})
    old = by_key(
        [DENY_ALL, body("RequestAuthentication", "t", keys("k1")), slashes, allow("p", rule("m.infer", "/x"))]
    )
    changed = [
        body("RequestAuthentication", "t", other),
        body("EnvoyFilter", "slashes", {"configPatches": [2]}),
    ]
    steps = assert_nothing_opens(old, old | by_key(changed))
    assert [step.phase for step in steps] == [Phase.CONTRACT, Phase.SWITCH, Phase.SWITCH, Phase.ALLOW]
    assert steps[0].body is not None
    assert not atoms(steps[0].body)
    assert key_of(steps[-1].body or {}) == key_of(allow("p"))


def test_a_rule_that_moves_between_policies_is_at_both_meanwhile() -> None:
    one, two = rule("m.infer", "/x"), rule("m.manage", "/y")
    old = by_key(
        [DENY_ALL, STRICT, body("RequestAuthentication", "t", keys("k1")), allow("p", one), allow("q", two)]
    )
    new = old | by_key([allow("p", two), allow("q", one)])
    for state in states(old, assert_nothing_opens(old, new)):
        assert permitted(old) <= permitted(state)


def test_another_selector_leaves_nobody_without_a_policy() -> None:
    """Without a default deny, whoever no ALLOW policy is for is reached by everybody."""
    one = rule("m.infer", "/x")
    old = by_key([allow("p", one, selector=SELECTORS[1]), allow("q", one, selector=SELECTORS[3])])
    new = by_key([allow("p", one, selector=SELECTORS[3]), allow("q", one, selector=SELECTORS[1])])
    assert_nothing_opens(old, new)


def test_a_subset_stays_until_no_route_names_it() -> None:
    def rule_for(*subsets: str) -> Body:
        return body("DestinationRule", "d", {"host": "a", "subsets": [{"name": name} for name in subsets]})

    def route(subset: str) -> Body:
        return body("VirtualService", "v", {"http": [subset]})

    old, new = by_key([rule_for("v1"), route("v1")]), by_key([rule_for("v2"), route("v2")])
    steps = plan_steps(old, new, ROOT)
    said = [[each["name"] for each in step.body["spec"].get("subsets", ())] for step in steps if step.body]
    assert said == [["v2", "v1"], [], ["v2"]]


def test_nothing_changes_where_nothing_differs() -> None:
    mesh = by_key([DENY_ALL, STRICT, allow("p", rule("m.infer", "/x"))])
    assert plan_steps(mesh, dict(mesh), ROOT) == ()


@given(st.lists(rules | anybody, max_size=4))
def test_a_policy_put_together_of_its_atoms_permits_the_same(said: list[Body]) -> None:
    policy = allow("p", *said)
    again = with_atoms(policy, atoms(policy))
    assert permitted(by_key([policy])) == permitted(by_key([again]))
