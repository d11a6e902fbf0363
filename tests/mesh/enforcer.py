"""The conformance suite's harness for a mesh: what we render, under a real istiod, at real sidecars.

Cases with the same policy and site share a mesh; another policy is rendered in the place of what is there.
"""

from __future__ import annotations

import json
from typing import ClassVar

from meshward.plan.placement import MeshService, PlacedPlan
from meshward.spiffe.ca import Authority
from meshward.spiffe.certificates import LeafCredential
from meshward.spiffe.ids import SpiffeId
from tests.conformance.format import Peer, TransactionToken
from tests.conformance.harness import Answer, Features
from tests.conformance.harness.credentials import lines, transaction_token
from tests.conformance.harness.sited import ABLE, SIDECAR_TRAITS, Sent, Sited
from tests.mesh.lab import Call, Lab, svids
from tests.mesh.lab.client import TOKEN_HEADER
from tests.mesh.rendered import Mesh
from tests.mesh.tokens import Mint


class Sidecars(Sited):
    """One mesh at a time is there."""

    name: ClassVar[str] = "istiod + Envoy"
    features: ClassVar[Features] = Features(
        able=ABLE, lacks={"limits": "a sidecar counts by EnvoyFilter alone"}, traits=SIDECAR_TRAITS
    )

    def __init__(self, lab: Lab) -> None:
        super().__init__()
        self._lab = lab
        self._mesh: Mesh | None = None

    def put_in_force(self, placed: PlacedPlan) -> None:
        if self._mesh is not None and _pods(self._mesh.plan) == _pods(placed):
            self._mesh.change(placed)
            return
        self._lab.reset()
        self._mesh = Mesh.of(self._lab, placed, Mint(placed, self.key, self.following))
        self._mesh.start()

    def send(self, sent: Sent) -> Answer:
        assert self._mesh is not None
        request, sidecar = sent.request, self._mesh.sidecar(sent.model, sent.version)
        server = self._lab.backend(sidecar.workload)
        server.taken()
        token = request.token or TransactionToken(permission="none.infer")
        text = transaction_token(request.token, self.minting)  # now: a proxy has the machine's clock
        call = Call(
            request.method,
            request.target,
            headers=(*lines(token, text, (TOKEN_HEADER, "{token}")), *request.headers),
            body=json.dumps({} if request.body is None else request.body).encode(),
        )
        mutual = request.peer.connection == "mtls"
        leaf = self._certificate(request.peer, request.model) if mutual else None
        answer = self._lab.request(leaf, sidecar, call, plain=request.peer.connection == "plaintext")
        said = f"{answer.status} {answer.details} {answer.body[:80]}"
        arrived = server.taken()
        if not arrived:
            return Answer("deny", hop="guard", said=said)
        (seen,) = arrived
        sees = {name.lower(): value for name, value in seen.headers}
        return Answer("permit", version=sent.version, arrived=seen.target, sees=sees, said=said)

    def _certificate(self, peer: Peer, model: str) -> LeafCredential:
        ours = peer.certificate.authority == "ours"
        authority = self._lab.authority if ours else svids.make_authority(self._lab.trust_domain)
        domain, slash, path = self.spiffe_id(peer, model).removeprefix("spiffe://").partition("/")
        signer = Authority(domain, authority.root, authority.issuing)  # of whatever trust domain it says
        return svids.leaf(signer, SpiffeId(domain, slash + path))


def _pods(plan: PlacedPlan) -> set[tuple[object, ...]]:
    """Which workloads there are."""
    return {_pod(place) for _, _, place in plan.services()}


def _pod(place: MeshService) -> tuple[object, ...]:
    return place.namespace, place.name, place.port, place.target_port, place.select, place.service_account
