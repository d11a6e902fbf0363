"""Changes of what we render, each state in between judged by the reader of Istio's rules: another author's."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pytest

from meshward.align.istio.attach import Workload
from meshward.align.istio.meshconfig import read_config
from meshward.align.istio.objects import gather, read_object
from meshward.align.istio.request import PLAINTEXT, Client, Request, TokenText
from meshward.align.istio.view import judge, read_sidecar
from meshward.cluster.manifest import Key, by_key
from meshward.cluster.order import plan_steps, states
from meshward.plan.placement import PlacedPlan
from meshward.targets.istio.inputs import IstioInputs
from meshward.targets.istio.target import mesh_resources
from tests.targets.istio.placed import POLICY, placed, service
from tests.targets.istio.reading import KEYS, NOW, token

Objects = dict[Key, dict[str, Any]]
THIRD = {**KEYS[0], "kid": "third", "x": "third-x", "y": "third-y"}
SITE = {"models": {"m": {"v1": service("m")}, "n": {"v1": service("n")}}}
MODELS = {
    name: {"versions": {"v1": {"server": "tei", "url": f"unix:/run/{name}.sock"}}} for name in ("m", "n")
}
EVERYTHING = {"id": "g", "roles": ["r"], "models": "all", "actions": ["infer", "describe", "observe"]}
LIMITED = {**EVERYTHING, "limits": {"requests": "60/min"}}


def site(**over: object) -> dict[str, Any]:
    return {"models": {**SITE["models"], "m": {"v1": service("m", **over)}}}


MESHES: Mapping[str, tuple[PlacedPlan, IstioInputs]] = {
    "plain": (placed(SITE, models=MODELS), IstioInputs(KEYS)),
    "other keys": (placed(SITE, models=MODELS), IstioInputs([KEYS[1], THIRD])),
    "more actions, a key less": (placed(SITE, models=MODELS, grants=[EVERYTHING]), IstioInputs([KEYS[1]])),
    "another issuer": (
        placed(SITE, models=MODELS, edge={**POLICY["edge"], "hostname": "two.one.test"}, grants=[EVERYTHING]),
        IstioInputs([THIRD]),
    ),
    "filters, limits": (
        placed(SITE, models=MODELS, grants=[LIMITED]),
        IstioInputs(KEYS, allow=frozenset({"envoyfilter"})),
    ),
    "other filters, another issuer": (
        placed(
            SITE,
            models=MODELS,
            grants=[{**LIMITED, "limits": {"requests": "30/min"}, "actions": ["infer"]}],
            edge={**POLICY["edge"], "hostname": "two.one.test"},
        ),
        IstioInputs(KEYS, allow=frozenset({"envoyfilter"})),
    ),
    "other pods": (placed(site(select={"app": "n", "tier": "gpu"}), models=MODELS), IstioInputs(KEYS)),
    "another namespace": (placed(site(namespace="apps"), models=MODELS), IstioInputs([THIRD])),
    "another port": (placed(site(port=9090), models=MODELS), IstioInputs(KEYS, mesh_wide=True)),
    "another edge": (
        placed(
            {**SITE, "edge": {"workload": {"namespace": "edge", "service_account": "other"}}}, models=MODELS
        ),
        IstioInputs(KEYS),
    ),
    "one model": (placed({"models": {"m": SITE["models"]["m"]}}), IstioInputs(KEYS)),
}
PODS = [
    Workload("models", {"app": "m"}),
    Workload("models", {"app": "n"}),
    Workload("models", {"app": "n", "tier": "gpu"}),
    Workload("apps", {"app": "m"}),
]
ROUTES = [("POST", "/embed"), ("GET", "/info"), ("GET", "/metrics"), ("GET", "/embed"), ("POST", "/embed%2f")]


def objects(name: str) -> Objects:
    if name == "nothing":
        return {}
    plan, given = MESHES[name]
    return by_key(dict(each.body) for each in mesh_resources(plan, given))


def requests() -> Iterator[tuple[Request, str]]:
    """By whom, with a token of which edge, for which permission, by which key, to which port and route."""
    plans = {plan.plan.edge.hostname: plan for plan, _ in MESHES.values()}
    callers = [PLAINTEXT, *(Client(f"spiffe://one.test/ns/edge/sa/{name}") for name in ("nginx", "other"))]
    permissions = ["m.infer", "m.observe", "n.infer"]
    parts = itertools.product(
        plans.values(), permissions, ("current", "next", "third"), callers, ROUTES, (8080, 9090)
    )
    for plan, permission, key, caller, (method, path), port in parts:
        sent = {"txn-token": [TokenText(token(plan, permission, key))]}
        said = f"{plan.plan.edge.hostname} {permission} {key} {caller} {method} {path} {port}"
        yield Request(caller, method, path, sent, port=port, now=NOW, host="x"), said


REQUESTS = list(requests())


def permitted(mesh: Iterable[Mapping[str, Any]]) -> frozenset[tuple[str, str]]:
    """What can come through at which pod; what nobody can tell does."""
    read = gather([read_object(body) for body in mesh], read_config({"trustDomain": "one.test"}))
    found = set()
    for pod in PODS:
        sidecar = read_sidecar(read, pod)
        for request, said in REQUESTS:
            if judge(sidecar, request).permit is not False:
                found.add((f"{pod.namespace} {dict(pod.labels)}", said))
    return frozenset(found)


def of_ours(mesh: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    kinds = ("AuthorizationPolicy", "EnvoyFilter", "PeerAuthentication", "RequestAuthentication")
    return [each for each in mesh if each["kind"] in kinds]


@pytest.mark.parametrize("new", [*MESHES, "nothing"])
@pytest.mark.parametrize("old", ["plain", "filters, limits", "other pods"])
def test_no_state_in_between_permits_what_neither_side_does(old: str, new: str) -> None:
    before, after = objects(old), objects(new)
    bound = permitted(of_ours(before.values())) | permitted(of_ours(after.values()))
    assert bound
    seen: set[str] = set()
    for one, other in ((before, after), (after, before)):
        steps = plan_steps(one, other, "istio-system")
        for number, state in enumerate(states(one, steps)):
            here = of_ours(state.values())
            if (spelled := repr(here)) in seen:
                continue
            seen.add(spelled)
            opened = permitted(here) - bound
            assert not opened, (steps[number - 1].phase, steps[number - 1].key, sorted(opened)[:3])


@pytest.mark.parametrize("new", ["other keys", "more actions, a key less", "filters, limits"])
def test_what_both_sides_permit_stays_permitted(new: str) -> None:
    before, after = objects("plain"), objects(new)
    kept = permitted(of_ours(before.values())) & permitted(of_ours(after.values()))
    assert kept
    for state in states(before, plan_steps(before, after, "istio-system")):
        assert kept <= permitted(of_ours(state.values()))
