"""Policies and sites that nobody thought of: what we render for Istio permits what `decide` does, and nothing else.

Whoever holds the edge's certificate (the worst case), or another workload's, comes with every token that could be
minted at all, by every key, on every route and many spellings of it. The reader's "unknown" counts as permitted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, product
from typing import Any, Literal

from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

from meshward.decide.decide import Decider
from meshward.decide.types import Identity, Permit, Request
from meshward.plan.ir import Plan
from meshward.policy.schema import ACTIONS
from meshward.targets.istio.inputs import ENVOYFILTER, IstioInputs
from tests.conformance.cases.common import case, client, group, permit, policy, token
from tests.conformance.format import Certificate, Inside, Peer
from tests.conformance.harness.reader import IstioReader
from tests.conformance.harness.sited import Sent
from tests.conformance.suite import Asked, asked, topic

PATHS = (
    "/",
    "/ask",
    "/ask/",
    "/v1/ask",
    "/V1/ask",
    "/v1/ask:run",
    "/v1/a.b~c",
    "/v1/models/x-3",
    "/admin/load",
)
METHODS = ("GET", "POST", "DELETE")
ROLES = ("red", "green", "blue")
MODELS = ("m", "m.n", "m-n")  # names that a dot or a hyphen sets apart
PEERS = (
    Peer(),
    Peer(workload="scorer"),
    Peer(model="m"),
    Peer(certificate=Certificate(path="{own}x")),
    Peer(certificate=Certificate(trust_domain="other.test")),
    Peer(certificate=Certificate(authority="another")),
    Peer(connection="tls"),
    Peer(connection="plaintext"),
)
ROUTES = [f"{method} {path}" for method, path in product(METHODS, PATHS)]


def _some(values: Any, most: int = 3) -> st.SearchStrategy[list[Any]]:
    return st.lists(st.sampled_from(list(values)), min_size=1, max_size=most, unique=True)


@st.composite
def kinds(draw: st.DrawFn) -> dict[str, list[str]]:
    """A server kind: each route means at most one action."""
    chosen = draw(_some(ROUTES, 8))
    kind: dict[str, list[str]] = {}
    for route in chosen:
        kind.setdefault(draw(st.sampled_from(ACTIONS)), []).append(route)
    return kind


@st.composite
def rules(draw: st.DrawFn, prefix: str) -> list[dict[str, Any]]:
    count = draw(st.integers(0, 4))
    selected = st.one_of(st.just("all"), _some(MODELS), st.just({"labels": {"data": "public"}}))
    return [
        {
            "id": f"{prefix}{number}",
            "roles": draw(_some(ROLES)),
            "models": draw(selected),
            "actions": draw(_some(ACTIONS)),
        }
        for number in range(count)
    ]


@st.composite
def policies(draw: st.DrawFn) -> dict[str, Any]:
    versions = {name: draw(st.integers(1, 2)) for name in MODELS}
    own = {name: draw(st.sampled_from(["one", "other"])) for name in MODELS}
    return policy(
        servers={"one": draw(kinds()), "other": draw(kinds())},
        models={
            name: {
                "labels": {"data": draw(st.sampled_from(["public", "internal"]))},
                "versions": {
                    f"v{number}": {"server": own[name], "url": f"unix:/run/{index}-{number}.sock"}
                    for number in range(count)
                },
                **({"traffic": {"v0": 50, "v1": 50}} if count == 2 else {}),
            }
            for index, (name, count) in enumerate(versions.items())
        },
        roles={role: [group(role)] for role in ROLES} | {"batch": [{"workload": "scorer"}]},
        grants=draw(rules("g")),
        denies=draw(rules("d")),
    )


@st.composite
def sites(draw: st.DrawFn, text: Mapping[str, Any]) -> dict[str, Any]:
    """Where they are: labels of which some are part of others', namespaces that models share with one another."""
    place = st.sampled_from(["models", "apps"])
    return {
        "version": 1,
        "trust_domain": draw(st.sampled_from(["cluster.local", "mesh.test"])),
        "edge": {
            "workload": {"namespace": draw(st.sampled_from(["edge", "models"])), "service_account": "nginx"}
        },
        "workloads": {name: {"namespace": "jobs", "service_account": name} for name in text["workloads"]},
        "models": {
            name: {
                version: {
                    "namespace": draw(place),
                    "service": f"s{index}-{version}",
                    "port": draw(st.sampled_from([80, 8080])),
                    "target_port": draw(st.sampled_from([8080, 9000])),
                    "select": {"app": f"s{index}", "version": version},
                    **({"service_account": f"s{index}"} if draw(st.booleans()) else {}),
                }
                for version in model["versions"]
            }
            for index, (name, model) in enumerate(text["models"].items())
        },
    }


@st.composite
def worlds(draw: st.DrawFn) -> Asked:
    text = draw(policies())
    anything = case("any", "Anything.", (client(), permit()), policy="any", site="any")
    (found,) = asked([topic("any", "", {"any": text}, [anything], {"any": draw(sites(text))})])
    return found


wishes = st.builds(
    IstioInputs,
    routes=st.sampled_from(["istio", "gateway-api"]),
    allow=st.sampled_from([frozenset(), frozenset({ENVOYFILTER})]),
    mesh_wide=st.booleans(),
)


@dataclass(frozen=True, slots=True)
class Spelling:
    """A target, and the path that a sidecar makes of it; None: another."""

    target: str
    path: str | None


def spellings(path: str) -> Iterator[Spelling]:
    yield Spelling(path, path)
    yield Spelling(f"{path}?q=/admin/load", path)
    yield Spelling(f"/x/..{path}", path)
    yield Spelling(f"/{path}", None)
    for changed in (
        f"{path};x",
        f"{path}%2f",
        f"{path}%00",
        f"{path}#f",
        f"{path}%5c",
        f"{path}*",
        f"{path}?",
    ):
        yield Spelling(changed, path if changed.endswith("?") else None)


# Not made smaller: what fails says all of itself, and a smaller one is minutes away.
@settings(
    max_examples=25,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate],
)
@given(world=worlds(), wished=wishes, data=st.data())
def test_a_mesh_permits_what_decide_does_and_no_more(
    world: Asked, wished: IstioInputs, data: st.DataObject
) -> None:
    reader = IstioReader(wished)
    assume(not reader.refusals(world))
    plan = reader.begin(world.policy, world).plan
    permitted = list(_permitted(plan))
    for each in permitted:
        for version in plan.models[each.model].versions:
            sent = each.sent(version.name)
            assert reader.send(sent).decision == "permit", sent
    for tried in data.draw(st.lists(_doors(plan, permitted), min_size=40, max_size=40)):
        if reader.send(tried.sent()).decision == "permit":
            assert tried.is_right(plan), tried


@dataclass(frozen=True, slots=True)
class Door:
    """A request straight to a version's sidecar, and what its path is once that is normalised."""

    model: str
    version: str
    method: str
    shape: Spelling
    permission: str
    peer: Peer = PEERS[0]
    key: Literal["current", "forged", "unknown"] = "current"

    def sent(self, version: str | None = None) -> Sent:
        shown = token(self.permission, key=self.key)
        request = Inside(
            model=self.model, method=self.method, target=self.shape.target, token=shown, peer=self.peer
        )
        return Sent(self.model, version or self.version, request)

    def is_right(self, plan: Plan) -> bool:
        """Whether the edge may ask so with the token of its decision."""
        path, model = self.shape.path, plan.models[self.model]
        action = None if path is None else model.action_of(self.method, path)
        own = action is not None and self.permission == f"{self.model}.{action}"
        return own and self.key == "current" and self.peer == PEERS[0]


@st.composite
def _doors(draw: st.DrawFn, plan: Plan, permitted: Sequence[Door]) -> Door:
    """Something that is permitted, where anything is, with some of it changed; or anything at all."""
    names = [f"{model}.{action}" for model, action in product(MODELS, ACTIONS)]
    model = plan.models[draw(st.sampled_from(MODELS))]
    others: dict[str, st.SearchStrategy[Any]] = {
        "method": st.sampled_from(METHODS),
        "shape": st.sampled_from([each for path in PATHS for each in spellings(path)]),
        "permission": st.sampled_from(names),
        "peer": st.sampled_from(PEERS),
        "key": st.sampled_from(["current", "forged", "unknown"]),
    }
    if not permitted or draw(st.integers(0, 4)) == 0:
        chosen = {name: draw(each) for name, each in others.items()}
        return Door(model=model.name, version=model.versions[0].name, **chosen)
    door = draw(st.sampled_from(permitted))
    if draw(st.booleans()):
        door = replace(door, shape=draw(st.sampled_from(list(spellings(door.shape.target)))))
    changed = draw(st.lists(st.sampled_from(list(others)), max_size=2, unique=True))
    return replace(door, **{name: draw(others[name]) for name in changed})


def _permitted(plan: Plan) -> Iterator[Door]:
    """What somebody may, as the edge then asks."""
    decider, groups = Decider(plan), [(), *combinations(ROLES, 1), *combinations(ROLES, 2)]
    people = [Identity(issuer="staff", subject="ann", groups=each) for each in groups]
    for name, model in plan.models.items():
        for route, action in model.versions[0].routes.items():
            request = Request(name, action, 0)
            decided = [decider.decide(who, request) for who in (*people, Identity(workload="scorer"))]
            found = next((each for each in decided if isinstance(each, Permit)), None)
            if found is not None:
                shape = Spelling(route.path, route.path)
                yield Door(name, model.versions[0].name, route.method, shape, found.permission)
