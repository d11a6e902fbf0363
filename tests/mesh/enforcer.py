"""The conformance suite's harness for a mesh: what we render, under a real istiod, at real sidecars.

It comes straight to the last hop. Cases with the same policy and site share a mesh; a change is rendered in its place.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from meshward.edge.capabilities import CAPABILITIES as DECISION
from meshward.kit.errors import Problem
from meshward.plan.coverage import Hop, Path, Way, find_unenforced
from meshward.plan.features import Feature
from meshward.plan.placement import MeshService, PlacedPlan
from meshward.plan.requirements import requirements
from meshward.policy.schema import Policy
from meshward.spiffe.ca import Authority
from meshward.spiffe.certificates import LeafCredential
from meshward.spiffe.ids import SpiffeId
from meshward.targets.istio.target import SIDECAR
from meshward.targets.nginx.target import EDGE
from meshward.tokens.keys import make_key
from tests.conformance.format import Inside, Peer, TransactionToken
from tests.conformance.harness import Answer, Features
from tests.conformance.harness.credentials import lines, spoiled
from tests.conformance.suite import Asked
from tests.mesh.lab import Call, Lab, svids
from tests.mesh.lab.client import TOKEN_HEADER
from tests.mesh.rendered import Mesh, placed
from tests.mesh.tokens import Mint, signed

_SIDECAR = Hop("sidecar", SIDECAR.table)
PATHS = (
    Path("client", Way.WHOLE, (Hop("edge", EDGE.table), Hop("decision service", DECISION), _SIDECAR)),
    Path("workload", Way.ROUND, (_SIDECAR,)),
)
LEFT = {Feature.HEALTH, Feature.TIMEOUT}
"""What a mesh without our guard leaves, and nobody gets in by."""
USUAL = (TOKEN_HEADER, "{token}")


@dataclass
class Sidecars:
    """`features`: what a harness of the suite can do. Only one mesh is there at a time."""

    lab: Lab
    _mesh: Mesh | None = None
    _site: Mapping[str, Any] | None = None
    name: ClassVar[str] = "istiod + Envoy"
    features: ClassVar[Features] = Features(
        able=frozenset({"inside", "certificates", "change"}),
        lacks={
            "client": "no edge runs before these sidecars: test_whole.py has one",
            "revoke": "a sidecar is told of no revocation: a live token is good until its end",
            "clock": "a proxy has the machine's clock",
            "address": "no caller's address comes to a sidecar",
            "via": "the edge mints no tokens for calls between models",
            "agent": "an agent is the edge's to judge",
            "limits": "a sidecar counts by EnvoyFilter only",
        },
        traits=frozenset(
            {"takes-late-tokens", "takes-endless-tokens", "takes-long-tokens", "takes-any-type", "normalises"}
        ),
    )

    def refusals(self, policy: Policy) -> Sequence[Problem]:
        asked = {feature: places for feature, places in requirements(policy).items() if feature not in LEFT}
        return find_unenforced(asked, PATHS)

    def run(self, asked: Asked) -> Sequence[Answer]:
        answers = []
        mesh = self._in_force(asked, asked.policy)
        for step in asked.case.steps:
            if step.before is not None and step.before.policy is not None:
                mesh = self._in_force(asked, asked.policies[step.before.policy])
            assert isinstance(step.request, Inside)
            answers.append(_ask(mesh, step.request))
        return answers

    def _in_force(self, asked: Asked, policy: Policy) -> Mesh:
        wanted = placed(policy, None if asked.site is None else _without_version(asked.site))
        if self._mesh is None or self._site != asked.site or not _same_pods(self._mesh.plan, wanted):
            self.lab.reset()
            self._mesh, self._site = Mesh.of(self.lab, wanted), asked.site
            self._mesh.start()
        elif self._mesh.plan != wanted:
            self._mesh.change(wanted)
        return self._mesh


def _ask(mesh: Mesh, request: Inside) -> Answer:
    model = mesh.plan.plan.models[request.model]
    version = model.versions[0].name
    server = mesh.lab.backend(mesh.workloads[request.model, version])
    server.taken()
    text = None if request.token is None else _token(mesh.mint, request.token)
    token_lines = lines(request.token or TransactionToken(permission="x.infer"), text, USUAL)
    call = Call(
        request.method,
        request.target,
        headers=(*token_lines, *request.headers),
        body=b"" if request.body is None else json.dumps(request.body).encode(),
    )
    leaf = None if request.peer.connection != "mtls" else _certificate(mesh, request.peer)
    plain = request.peer.connection == "plaintext"
    answer = mesh.lab.request(leaf, mesh.sidecar(request.model, version), call, plain=plain)
    arrived = server.taken()
    said = f"{answer.status} {answer.details} {answer.body[:80]}"
    if not arrived:
        return Answer("deny", hop="guard", said=said)
    (seen,) = arrived
    sees = {name.lower(): value for name, value in seen.headers}
    return Answer("permit", version=version, arrived=seen.target, sees=sees, said=said)


def _token(mint: Mint, wanted: TransactionToken) -> str:
    if wanted.raw is not None:
        return wanted.raw
    now = int(time.time())
    claims = mint.claims(wanted.permission)
    claims |= {name: now + offset for name, offset in wanted.times.items()}
    claims |= wanted.claims
    claims = {name: value for name, value in claims.items() if value is not None}
    key = mint.key if wanted.key == "current" else make_key()
    kid = key.kid if wanted.key == "unknown" else mint.key.kid
    return spoiled(signed(claims, key, **{"kid": kid, **wanted.header}), wanted)


def _certificate(mesh: Mesh, peer: Peer) -> LeafCredential:
    """The peer's own, but for what the case says."""
    differs = peer.certificate
    authority = (
        mesh.lab.authority if differs.authority == "ours" else svids.make_authority(mesh.lab.trust_domain)
    )
    path = differs.path or "/" + _spiffe_id(mesh.plan, peer).removeprefix("spiffe://").partition("/")[2]
    if differs.trust_domain is None:
        return svids.leaf(authority, SpiffeId(authority.trust_domain, path))
    foreign = Authority(differs.trust_domain, authority.root, authority.issuing)
    return svids.leaf(foreign, SpiffeId(differs.trust_domain, path))


def _spiffe_id(plan: PlacedPlan, peer: Peer) -> str:
    if peer.workload is not None:
        return plan.plan.workloads[peer.workload]
    if peer.model is not None:
        (place, *_) = (place for model, _, place in plan.services() if model.name == peer.model)
        return (
            f"spiffe://{plan.plan.trust_domain}/ns/{place.namespace}/sa/{place.service_account or place.name}"
        )
    return plan.edge_id


def _without_version(site: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in site.items() if key != "version"}


def _same_pods(one: PlacedPlan, other: PlacedPlan) -> bool:
    """Whether both are run by the same workloads."""
    return {_pods(place) for _, _, place in one.services()} == {
        _pods(place) for _, _, place in other.services()
    }


def _pods(place: MeshService) -> MeshService:
    return replace(place, port=0)
