"""What istiod would make of the objects that we render for Istio, as `align`'s reader reads them. Nothing runs."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import ClassVar

from meshward.align.istio.attach import Workload
from meshward.align.istio.jwks import key_id
from meshward.align.istio.meshconfig import read_config
from meshward.align.istio.objects import Mesh, gather, read_object
from meshward.align.istio.request import Client, Request, Token, TokenText, Value
from meshward.align.istio.view import Sidecar, judge, read_sidecar
from meshward.plan.placement import MeshService, PlacedPlan
from meshward.targets.istio.inputs import IstioInputs
from meshward.targets.istio.logs import mesh_config
from meshward.targets.istio.target import mesh_resources
from tests.conformance.format import Peer, TransactionToken
from tests.conformance.harness import Answer, Features
from tests.conformance.harness.credentials import described
from tests.conformance.harness.sited import ABLE, SIDECAR_TRAITS, Sent, Sited

TXN = "Txn-Token"


class IstioReader(Sited):
    """What is not known counts as permitted: a reader that hesitates has found a door."""

    name: ClassVar[str] = "reader"
    features: ClassVar[Features] = Features(
        able=ABLE,
        lacks={"limits": "`decide` and the reader count and measure nothing"},
        traits=SIDECAR_TRAITS,
    )

    def __init__(self, wished: IstioInputs | None = None) -> None:
        """`wished`: how the mesh is rendered, but for the keys."""
        super().__init__()
        keys = (self.key.public_jwk(), self.following.public_jwk())
        self._given = replace(wished or IstioInputs(), keys=keys)

    def put_in_force(self, placed: PlacedPlan) -> None:
        objects = mesh_resources(placed, self._given)
        config = read_config(mesh_config(placed, gateway_api=False))
        self._mesh: Mesh = gather([read_object(dict(each.body)) for each in objects], config)
        self._sidecars: dict[tuple[str, str], Sidecar] = {}

    def send(self, sent: Sent) -> Answer:
        place = self._place(sent)
        answer = judge(self._sidecar(sent, place), self._request(sent, place))
        said = f"{answer.status}: {answer.why}"
        if answer.permit is False:
            return Answer("deny", hop="guard", said=said)
        return Answer("permit", said=said)

    def _place(self, sent: Sent) -> MeshService:
        assert self.placed is not None
        place = self.placed.places[sent.model, sent.version]
        assert isinstance(place, MeshService)
        return place

    def _sidecar(self, sent: Sent, place: MeshService) -> Sidecar:
        key = (sent.model, sent.version)
        if key not in self._sidecars:
            account = place.service_account or place.name
            workload = Workload(place.namespace, dict(place.select), account)
            self._sidecars[key] = read_sidecar(self._mesh, workload)
        return self._sidecars[key]

    def _request(self, sent: Sent, place: MeshService) -> Request:
        request, now = sent.request, sent.at or int(time.time())
        headers: dict[str, list[Value]] = {}
        for name, value in request.headers:
            headers.setdefault(name.lower(), []).append(value)
        for name, found in self._token_lines(request.token, now):
            headers.setdefault(name.lower(), []).append(found)
        return Request(
            client=self._client(request.peer, request.model),
            method=request.method,
            path=request.target,
            headers=headers,
            host=f"{place.name}.{place.namespace}",
            port=place.target_port,
            now=now,
        )

    def _client(self, peer: Peer, model: str) -> Client:
        if peer.connection != "mtls":
            return Client(None, tls=peer.connection == "tls", trusted=False)
        return Client(self.spiffe_id(peer, model), trusted=peer.certificate.authority == "ours")

    def _token_lines(self, differs: TransactionToken | None, now: int) -> list[tuple[str, Value]]:
        if differs is None:
            return []
        if differs.raw is not None:
            return [(TXN, differs.raw)]
        made = described(differs, self.minting, now)
        token = Token(
            claims=made.claims,
            key=key_id(made.key.public_jwk()) if differs.signature == "good" else "",
            kid=str(made.header.get("kid", "")),
            alg=str(made.header.get("alg", "")),
            broken=differs.signature == "none",
        )
        return [
            (name, TokenText(token, text.partition("{token}")[0]) if "{token}" in text else text)
            for name, text in differs.sent_as or [(TXN, "{token}")]
        ]
