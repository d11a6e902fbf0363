"""A policy and a site as a mesh: what we render of them in the lab, and the workloads that the site speaks of."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from meshward.plan.placement import MeshService, PlacedPlan, place
from meshward.plan.resolve import resolve
from meshward.policy.site import Site
from meshward.targets.istio.inputs import IstioInputs
from meshward.targets.istio.logs import mesh_config
from meshward.targets.istio.target import mesh_resources
from meshward.testing.given import Given, policy_of
from tests.mesh.lab import Answer, Call, Lab, Workload
from tests.mesh.lab.sidecar import Sidecar
from tests.mesh.tokens import Mint

Json = dict[str, Any]


def placed(policy: Given, site: Mapping[str, Any] | None = None) -> PlacedPlan:
    return place(
        resolve(policy_of(policy)), None if site is None else Site.model_validate({"version": 1, **site})
    )


def objects(plan: PlacedPlan, given: IstioInputs) -> list[Json]:
    """What `meshward render --target istio` writes, as data."""
    return [copy.deepcopy(dict(each.body)) for each in mesh_resources(plan, given)]


def serving(plan: PlacedPlan) -> dict[tuple[str, str], Workload]:
    """A workload for each version behind a service, by model and version; those that share pods share one."""
    by_pods: dict[Any, Workload] = {}
    found = {}
    for model, version, service in plan.services():
        pods = (service.namespace, service.select)
        found[model.name, version.name] = by_pods.setdefault(pods, _workload(service))
    return found


def edge(plan: PlacedPlan) -> Workload:
    """It writes no Sidecar of its own: that is rendered."""
    who = plan.edge.workload
    return Workload(
        "edge-0", who.namespace, who.service_account, dict(plan.edge.select), writes_sidecar=False
    )


@dataclass
class Mesh:
    """`plan` in the lab, with its workloads, once `start` was called; `mint` is its edge's."""

    lab: Lab
    plan: PlacedPlan
    mint: Mint
    given: IstioInputs
    workloads: dict[tuple[str, str], Workload] = field(default_factory=dict)

    @classmethod
    def of(cls, lab: Lab, plan: PlacedPlan, mint: Mint | None = None, **given: Any) -> Mesh:
        mint = mint or Mint(plan)
        return cls(lab, plan, mint, IstioInputs(keys=mint.jwks, **given))

    def start(self) -> None:
        """Everything, in force."""
        self.lab.configure(mesh_config(self.plan, gateway_api=self.given.routes == "gateway-api"))
        self.workloads = serving(self.plan)
        for workload in {id(each): each for each in self.workloads.values()}.values():
            self.lab.start(workload)
        self.lab.apply(self.objects())
        self.lab.start(edge(self.plan))
        self.lab.settled()

    def objects(self) -> list[Json]:
        return objects(self.plan, self.given)

    def change(self, plan: PlacedPlan) -> None:
        """Render `plan` in the place of what is there, as a whole and without care; in force when this returns."""
        old = {_key(each): each for each in self.objects()}
        self.plan = plan
        new = {_key(each): each for each in self.objects()}
        self.lab.apply(new.values())
        self.lab.delete(each for key, each in old.items() if key not in new)
        self.lab.settled()

    def sidecar(self, model: str, version: str) -> Sidecar:
        return self.lab.sidecar(self.workloads[model, version])

    def ask(self, model: str, version: str, call: Call, **who: Any) -> Answer:
        """Straight at a version's sidecar, as the edge unless `client` says otherwise."""
        edge_ = self.plan.edge.workload
        client = who.pop("client", None) or self.lab.svid(edge_.namespace, edge_.service_account)
        return self.lab.request(client, self.sidecar(model, version), call, **who)

    def through_edge(self, model: str, version: str, call: Call) -> Answer:
        """As nginx asks: plain HTTP to the edge's own sidecar."""
        service = self.plan.places[model, version]
        assert isinstance(service, MeshService)
        host = f"{service.name}.{service.namespace}"
        return self.lab.through(self.plan.edge.sidecar, service.port, host, call)


def _workload(service: MeshService) -> Workload:
    return Workload(
        name=f"{service.name}-0" if len(service.select) < 2 else f"{service.name}-{service.select[-1][1]}-0",
        namespace=service.namespace,
        service_account=service.service_account or service.name,
        labels=dict(service.select),
        port=service.target_port,
        service=service.name,
        service_port=service.port,
    )


def _key(given: Json) -> tuple[str, str, str]:
    meta = given["metadata"]
    return given["kind"], meta.get("namespace", ""), meta["name"]


def kinds(given: Iterable[Json]) -> set[str]:
    return {each["kind"] for each in given}
