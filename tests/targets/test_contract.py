"""Every target keeps the contract: it speaks of every feature, leaves nothing unsaid, and emits what it was given.

The third target below is a whole one: a mesh that does mutual TLS and compares a token's audience, and no more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import pytest

from meshward.apply.local_paths import LOCAL
from meshward.kit.canonical import canonical_json
from meshward.kit.secret import Secret
from meshward.plan.coverage import Hop, Path, find_unenforced
from meshward.plan.features import ON_PATHS, Can, Cannot, Feature, Table, residue
from meshward.plan.ir import Plan
from meshward.plan.resolve import resolve
from meshward.policy.schema import Policy
from meshward.targets.contract import Target
from meshward.targets.envoy.files import GuardIdentity
from meshward.targets.envoy.listener import GuardSettings
from meshward.targets.envoy.projection import GuardPart
from meshward.targets.envoy.target import GUARD, GuardPlace
from meshward.targets.nginx.settings import EdgeSettings
from meshward.targets.nginx.target import EDGE, EdgePlace

# --- a third target: a mesh's sidecar in front of one model -----------------------------------------------------------

_LEFT = Cannot("the mesh knows callers, tokens and paths, and counts nothing", "concepts.md")
_HELD: Table = {
    Feature.CALLER: Can("mTLS, the edge's identity"),
    Feature.TRANSACTION_TOKEN: Can("signature, issuer and audience, by inline keys"),
    Feature.PERMISSION: Can("one audience per exact path"),
    Feature.ROUTES: Can("a path that no rule names is denied"),
    Feature.ROTATION: Can("by the mesh's own authority; keys by a new rule"),
}


@dataclass(frozen=True, slots=True)
class SidecarView:
    caller: str
    audiences: Mapping[str, str]  # `POST /embed` -> the permission that it takes


def sidecar_view(plan: Plan, model: str) -> SidecarView:
    routes = [item for version in plan.models[model].versions for item in version.routes.items()]
    audiences = {f"{route.method} {route.path}": f"{model}.{action}" for route, action in routes}
    return SidecarView(f"{plan.trust_domain}/edge", MappingProxyType(audiences))


def sidecar_files(view: SidecarView, namespace: str) -> Mapping[str, bytes]:
    rules = [{"from": view.caller, "to": route, "aud": aud} for route, aud in sorted(view.audiences.items())]
    return {"allow.json": canonical_json({"namespace": namespace, "rules": rules}).encode()}


SIDECAR: Target[str, SidecarView, str, Mapping[str, bytes]] = Target(
    "mesh", {**dict.fromkeys(ON_PATHS, _LEFT), **_HELD}, sidecar_view, sidecar_files
)

# ----------------------------------------------------------------------------------------------------------------------

TARGETS: tuple[Target[Any, Any, Any, Any], ...] = (EDGE, GUARD, SIDECAR)


def plan_of(**over: object) -> Plan:
    policy = {
        "version": 1,
        "trust_domain": "one.test",
        "edge": {"listen": "127.0.0.1:9443", "hostname": "one.test"},
        "models": {"m": {"max_body": "3m", "versions": {"v1": {"server": "tei", "url": "unix:/run/x.sock"}}}},
        **over,
    }
    return resolve(Policy.model_validate(policy))


def limited() -> Plan:
    """With a rate, which a mesh cannot count, and a membership that ends, which only the decision sees."""
    return plan_of(
        issuers={"x": {"profile": "oidc", "issuer": "https://x.test", "audience": "a", "groups": "/g"}},
        roles={"r": [{"issuer": "x", "group": "g", "until": "2030-01-01"}]},
        grants=[
            {
                "id": "g",
                "roles": ["r"],
                "models": "all",
                "actions": ["infer"],
                "limits": {"requests": "5/s"},
            }
        ],
    )


def behind_a_sidecar(target: Target[Any, Any, Any, Any]) -> list[Path]:
    """This machine's paths with the mesh's sidecar between edge and guard."""
    client, workload, operator = LOCAL
    sidecar = Hop("sidecar", target.table)
    return [
        replace(client, hops=(*client.hops[:2], sidecar, client.hops[2])),
        replace(workload, hops=(sidecar, *workload.hops)),
        operator,
    ]


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_a_table_speaks_of_every_feature(target: Target[Any, Any, Any, Any]) -> None:
    assert set(target.table) == set(ON_PATHS)


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_what_a_target_does_not_enforce_of_a_plan_is_its_residue(target: Target[Any, Any, Any, Any]) -> None:
    plan = limited()
    left = {each.feature: each.support for each in residue(target.table, plan.requires)}
    done = {feature for feature in plan.requires if isinstance(target.table.get(feature), Can)}
    assert left.keys() | done == set(plan.requires) & set(ON_PATHS) and not left.keys() & done
    assert all(left[feature] == target.table[feature] for feature in left)


def test_what_nobody_asks_for_is_left_by_nobody() -> None:
    """A residue is of this plan: features that it does not use concern no path."""
    without = {each.feature for each in residue(SIDECAR.table, plan_of().requires)}
    with_rate = {each.feature for each in residue(SIDECAR.table, limited().requires)}
    assert with_rate - without >= {Feature.REQUEST_RATE, Feature.ROLES, Feature.EXPIRY}
    assert Feature.TOKEN_BUDGET not in with_rate


def test_a_plan_says_which_keys_ask() -> None:
    requires = limited().requires
    assert requires[Feature.REQUEST_RATE] == ("grants[g].limits.requests",)
    assert requires[Feature.EXPIRY] == ("roles.r[0].until",)
    assert Feature.REQUEST_LEDGER not in requires


def test_the_edges_files_follow_its_view() -> None:
    settings = EdgeSettings(
        listen_host="127.0.0.1",
        listen_port=1,
        hostname="other.test",
        run_dir="/run/edge",
        decision_socket="/run/decide.sock",
        control_socket="/run/control.sock",
        guard_socket="/run/guards/{slot}/guard.sock",
        root_bundle="/run/root.pem",
    )
    files = EDGE.emit(EDGE.project(limited(), None), EdgePlace(settings, {"x.lua": "-- x"}))
    assert set(files) == {"nginx.conf", "lua/x.lua", "lua/settings.lua"}
    conf = files["nginx.conf"].decode()
    assert "rate=5r/s" in conf and "127.0.0.1:9443" in conf and "other.test" not in conf


def test_a_guards_files_follow_its_view() -> None:
    key = {"kty": "EC", "crv": "P-256", "alg": "ES256", "kid": "1", "x": "x", "y": "y"}
    identity = GuardIdentity("chain", Secret("key"), "bundle", (key,))
    part = GuardPart("m", "v1", revoked=("x:eve",))
    files = GUARD.emit(GUARD.project(limited(), part), GuardPlace(GuardSettings("/run/g"), identity)).by_path
    assert "guard.json" in files and all(name.startswith("xds/") for name in files.keys() - {"guard.json"})
    assert b"x:eve" in files["xds/rds.json"] and b"m.infer" in files["xds/rds.json"]


def test_a_mesh_needs_a_table_a_view_and_an_emitter_and_no_more() -> None:
    plan = limited()
    files = SIDECAR.emit(SIDECAR.project(plan, "m"), "models")
    assert b'{"aud":"m.infer","from":"one.test/edge","to":"POST /embed"}' in files["allow.json"]
    assert find_unenforced(plan.requires, behind_a_sidecar(SIDECAR)) == [], (
        "the others enforce what it leaves"
    )


def in_place_of_the_guard(table: Table) -> list[Path]:
    client, workload, operator = LOCAL
    sidecar = Hop("sidecar", table)
    return [
        replace(client, hops=(*client.hops[:2], sidecar)),
        replace(workload, hops=(sidecar,)),
        operator,
    ]


def test_a_mesh_alone_is_refused_for_what_nobody_else_enforces() -> None:
    problems = find_unenforced(limited().requires, in_place_of_the_guard(SIDECAR.table))
    assert {problem.code.number for problem in problems} == {
        Feature.TIMEOUT.code.number,
        Feature.HEALTH.code.number,
    }
    assert all("sidecar cannot: the mesh knows callers" in problem.message for problem in problems)


def test_a_mesh_without_mutual_tls_is_no_door() -> None:
    table = {**SIDECAR.table, Feature.CALLER: _LEFT}
    refused = [
        each
        for each in find_unenforced({}, in_place_of_the_guard(table))
        if "`workload -> sidecar`" in each.message
    ]
    assert {problem.code.number for problem in refused} == {Feature.CALLER.code.number}
