"""What a rendered mesh permits is what `decide` permits, read by a reader that knows no emitter."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshward.align.istio.request import PLAINTEXT, Client
from meshward.align.istio.view import Sidecar
from meshward.decide.decide import decide
from meshward.decide.types import Identity, Permit, Request
from meshward.plan.placement import PlacedPlan, place
from meshward.plan.resolve import resolve
from meshward.policy.schema import ACTIONS, Policy
from meshward.policy.values import Route
from meshward.targets.istio.inputs import IstioInputs
from tests.conformance import world
from tests.targets.istio.placed import at, placed, service
from tests.targets.istio.reading import KEYS, NOW, ask, read_back, sidecar, token


@cache
def plain_mesh() -> tuple[PlacedPlan, Sidecar]:
    """One model of kind `tei`, of which somebody may infer."""
    given = placed()
    return given, sidecar(read_back(given), at(given, "m"))


def conformance_plan() -> PlacedPlan:
    policy, _ = world.policy(Path("/jwks.json"), 443, Path("/run"))
    return place(resolve(Policy.model_validate(policy)), None)


def test_whoever_is_permitted_comes_through_with_that_permission_and_with_no_other() -> None:
    """The conformance world: roles, conditions, denies, attributes; each route of each kind at each model."""
    given = conformance_plan()
    mesh, tried = read_back(given), 0
    for model in given.plan.models:
        guarded = sidecar(mesh, at(given, model))
        for route in world.every_route(given.plan):
            action = given.plan.models[model].action_of(route.method, route.path)
            for person in world.PERMITTED:
                if world.is_permitted(given.plan, person, model, route):
                    held = token(given, f"{model}.{action}")
                    assert ask(given, guarded, route.method, route.path, [held]).status == 200
                    tried += 1
            wrong = [f"{m}.{a}" for m in given.plan.models for a in ACTIONS if (m, a) != (model, action)]
            for permission in wrong:
                answer = ask(given, guarded, route.method, route.path, [token(given, permission)])
                assert answer.permit is False, (model, route, permission, answer)
    assert tried > 100


def test_nobody_but_the_edge_with_a_good_token_comes_through() -> None:
    given, guarded = plain_mesh()
    good = token(given, "m.infer")
    assert ask(given, guarded, "POST", "/embed", [good]).status == 200
    assert ask(given, guarded, "POST", "/embed", [token(given, "m.infer", "next")]).status == 200
    for name in ("one.test/ns/models/sa/m", "one.test/ns/edge/sa/nginx2", "one.test/edge"):
        assert ask(given, guarded, "POST", "/embed", [good], caller=Client(f"spiffe://{name}")).status == 403
    for nobody in (
        PLAINTEXT,
        Client("spiffe://two.test/ns/edge/sa/nginx"),
        Client(given.edge_id, trusted=False),
    ):
        assert ask(given, guarded, "POST", "/embed", [good], caller=nobody).status == "refused"
    bad: list[dict[str, Any]] = [
        {"key": "stolen"},
        {"iss": "https://other.test"},
        {"sub": None},
        {"aud": "m.infer"},
        {"aud": ["one.test"]},
        {"exp": NOW - 61},
    ]
    for change in bad:
        assert ask(given, guarded, "POST", "/embed", [token(given, "m.infer", **change)]).permit is False, (
            change
        )
    assert ask(given, guarded, "POST", "/embed", []).status == 403
    assert ask(given, guarded, "POST", "/embed", [good], port=9090).status == 403
    assert ask(given, guarded, "POST", "/embed", [good, token(given, "m.infer", "stolen")]).permit is False


def test_another_issuer_that_somebody_else_lets_in_opens_nothing() -> None:
    """A second RequestAuthentication, of an issuer of theirs: its tokens may say what they like."""
    given = placed()
    rule = {
        "issuer": "https://other.test",
        "jwks": json.dumps({"keys": [KEYS[0] | {"kid": "o", "x": "o-x", "y": "o-y"}]}),
    }
    theirs = {
        "apiVersion": "security.istio.io/v1",
        "kind": "RequestAuthentication",
        "metadata": {"name": "theirs", "namespace": "models"},
        "spec": {"jwtRules": [{**rule, "fromHeaders": [{"name": "txn-token"}]}]},
    }
    guarded = sidecar(read_back(given, beside=[theirs]), at(given, "m"))
    told = token(given, "m.infer", "o", iss="https://other.test")
    assert ask(given, guarded, "POST", "/embed", [told]).status == 403
    assert ask(given, guarded, "POST", "/embed", [token(given, "m.infer")]).status == 200


def test_without_a_key_no_token_is_good() -> None:
    given = placed()
    guarded = sidecar(read_back(given, IstioInputs()), at(given, "m"))
    assert guarded.faults == ()
    assert ask(given, guarded, "POST", "/embed", [token(given, "m.infer")]).status == 401


ROLE = st.sampled_from(["r", "s"])
MODEL = st.sampled_from(["m", "n"])
ACTION = st.sampled_from(ACTIONS)
RULE = st.fixed_dictionaries(
    {
        "roles": st.lists(ROLE, min_size=1, max_size=2, unique=True),
        "models": st.lists(MODEL, min_size=1, max_size=2, unique=True),
        "actions": st.lists(ACTION, min_size=1, max_size=3, unique=True),
        "mode": st.sampled_from(["enforce", "enforce", "shadow"]),
    }
)
WHO = [Identity("x", "somebody", groups) for groups in ((), ("g",), ("h",), ("g", "h"))]


def named(rules: list[dict[str, Any]], prefix: str) -> list[dict[str, Any]]:
    return [{"id": f"{prefix}{number}", **rule} for number, rule in enumerate(rules)]


@settings(max_examples=60)
@given(st.lists(RULE, max_size=4), st.lists(RULE, max_size=3))
def test_a_rule_is_there_for_just_what_somebody_may(
    grants: list[dict[str, Any]], denies: list[dict[str, Any]]
) -> None:
    """Also the other way: nothing for a grant in shadow, nor for what denies take from every holder of a role."""
    server = {"server": "vllm", "url": "unix:/run/m.sock"}
    given = placed(
        models={"m": {"versions": {"v1": server}}, "n": {"versions": {"v1": server}}},
        grants=named(grants, "g"),
        denies=named(denies, "d"),
    )
    mesh = read_back(given)
    for model in ("m", "n"):
        guarded = sidecar(mesh, at(given, model))
        for route, action in given.plan.models[model].versions[0].routes.items():
            asked = Request(model, action, NOW)
            # Who is in one role only may what the other's denies take; so what one caller has, a rule is for.
            somebody = any(isinstance(decide(given.plan, who, asked), Permit) for who in WHO)
            answer = ask(given, guarded, route.method, route.path, [token(given, f"{model}.{action}")])
            assert answer.permit is somebody, (model, route, somebody, answer)


SPELLINGS = [
    *(
        f"{before}{path}{after}"
        for path in ("/embed", "/v1/embeddings")
        for before, after in [
            ("/", ""),
            ("", "/"),
            ("", ";x"),
            ("", "%2f"),
            ("/%2f", ""),
            ("", "%00"),
            ("/x%2f..", ""),
            ("", "/../info"),
        ]
    ),
    "/Embed",
    "/%2565mbed",
    "/v1%2fembeddings",
    "/v1%5cembeddings",
    "/embed%20",
    "/embed.",
    "//",
    "",
    "*",
    "/v1",
    "/v1/",
]


@pytest.mark.parametrize("path", SPELLINGS)
def test_what_the_sidecar_does_not_make_into_a_route_is_denied(path: str) -> None:
    given, guarded = plain_mesh()
    assert ask(given, guarded, "POST", path, [token(given, "m.infer")]).permit is False


@settings(max_examples=300)
@given(st.text("/.%2fFcC5;embdinvE1?#\\x", min_size=1, max_size=14))
def test_no_path_opens_that_is_not_a_route_once_it_is_made_plain(tail: str) -> None:
    """What passes means a route: without its query, escapes of letters undone, dots and backslashes resolved."""
    given, guarded = plain_mesh()
    answer = ask(given, guarded, "POST", "/" + tail, [token(given, "m.infer")])
    if answer.permit:
        assert Route("POST", plain("/" + tail)) in given.plan.models["m"].versions[0].routes


def plain(path: str) -> str:
    """By hand: what a path means to a person."""
    path = re.sub("%(?!2f|2F|5c|5C)[0-9a-fA-F]{2}", lambda found: unquote(found[0]), path.partition("?")[0])
    parts: list[str] = []
    for part in path.replace("\\", "/").split("/")[1:]:
        if part == "..":
            parts[-1:] = []
        elif part != ".":
            parts.append(part)
    ends = path.replace("\\", "/").endswith(("/.", "/..")) and bool(parts)
    return "/" + "/".join(parts) + ("/" if ends else "")


def test_each_version_has_the_routes_of_its_own_server() -> None:
    """And of its own pods alone: the other version's pods do not answer there."""
    server = {kind: {"server": kind, "url": f"unix:/run/{kind}.sock"} for kind in ("tei", "vllm")}
    given = placed(
        {"models": {"m": {"v1": service("one"), "v2": service("two", port=80, target_port=9000)}}},
        models={
            "m": {"versions": {"v1": server["tei"], "v2": server["vllm"]}, "traffic": {"v1": 50, "v2": 50}}
        },
    )
    mesh, held = read_back(given), token(given, "m.infer")
    first, second = sidecar(mesh, at(given, "m", "v1")), sidecar(mesh, at(given, "m", "v2"))
    assert ask(given, first, "POST", "/embed", [held]).status == 200
    assert ask(given, second, "POST", "/embed", [held], port=9000).status == 403
    assert ask(given, second, "POST", "/v1/completions", [held], port=9000).status == 200
    assert ask(given, first, "POST", "/v1/completions", [held]).status == 403
