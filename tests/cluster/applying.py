"""Two meshes of one edge, applied to an API server in memory, and a judge of every state that it was in."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

from meshward.cluster.applying import ApplyRequest, Outcome, apply
from meshward.cluster.preparing import Wanted
from meshward.cluster.record import Place
from meshward.plan.resolve import resolve
from meshward.policy.parse import to_json
from meshward.policy.schema import Policy
from tests.cluster.fake import WRITES, FakeServer
from tests.cluster.oracle import ROOT, Request, permitted
from tests.cluster.test_order import DENY_ALL, STRICT, allow, body, keys, rule
from tests.render.render_cases import policy_of

OWNER = "spiffe://cluster.local/ns/edge/sa/nginx"
PLACE = Place("edge", "meshward.nginx")
WIDE = {"id": "wide", "roles": ["r"], "models": ["a"], "actions": ["manage"]}
SERVERS = {"plain": {"infer": ["POST /run"], "manage": ["POST /load"]}}


def policy(*, manage: bool = False) -> Policy:
    grants = [*policy_of()["grants"], *([WIDE] if manage else [])]
    return Policy.model_validate(policy_of(grants=grants, servers=SERVERS))


def wanted(bodies: list[dict[str, Any]], given: Policy | None = None, **more: Any) -> Wanted:
    said = given or policy()
    return Wanted(tuple(bodies), OWNER, PLACE, ROOT, resolve(said), to_json(said), None, **more)


def other_issuer(name: str) -> dict[str, Any]:
    return {"jwtRules": [{**keys(name)["jwtRules"][0], "issuer": "https://other"}]}


OLD = [
    DENY_ALL,
    STRICT,
    body("RequestAuthentication", "t", keys("k1", "k2")),
    allow("p", rule("m.infer", "/x"), rule("m.manage", "/y")),
    allow("gone", rule("m.infer", "/z%2f")),
    body("VirtualService", "v", {"hosts": ["a"], "http": [1]}),
    body("DestinationRule", "d", {"host": "a"}),
]
NEW = [
    DENY_ALL,
    STRICT,
    body("RequestAuthentication", "t", other_issuer("k3")),
    allow("p", rule("m.infer", "/x", "/y")),
    allow("q", rule("m.manage", "/y", caller="other")),
    body("EnvoyFilter", "slashes", {"configPatches": [1]}),
    body("VirtualService", "v", {"hosts": ["a"], "http": [2]}),
]
"""Against OLD an issuer, permissions, a filter and routes change, one policy comes and one goes."""


class Killed(BaseException):
    """The process is gone: nothing after it is done."""


@dataclass
class Judge:
    """Every state that the server was in; `opened` is what any permitted beyond `bound`."""

    server: FakeServer
    bound: frozenset[Request]
    states: int = 0
    opened: list[tuple[str, Request]] = field(default_factory=list)

    def look(self, method: str, path: str) -> None:
        if method in WRITES:
            self.states += 1
            for request in permitted(self.server.mesh()) - self.bound:
                self.opened.append((f"{method} {path}", request))


def run(
    server: FakeServer, bodies: list[dict[str, Any]], given: Policy | None = None, *allow: str
) -> Outcome:
    return apply(server, wanted(bodies, given), ApplyRequest(allow=frozenset(allow)), _quiet, _no_pause)


def _quiet(_: str) -> None:
    return None


def _no_pause(_: float) -> None:
    return None


def with_old() -> FakeServer:
    server = FakeServer(page=100)
    run(server, OLD)
    return server


def copied(server: FakeServer) -> FakeServer:
    made = FakeServer(page=100)
    made.objects = copy.deepcopy(server.objects)
    for _ in range(1000):
        next(made._versions)
    return made


def said(server: FakeServer) -> dict[str, Any]:
    """What istiod reads, without marks."""
    return {path: each["spec"] for path, each in server.mesh().items()}


def bodies_of(bodies: list[dict[str, Any]]) -> dict[str, Any]:
    server = FakeServer()
    return {server.path(each): each["spec"] for each in bodies}
