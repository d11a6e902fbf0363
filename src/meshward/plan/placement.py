"""A plan in one environment: who its names are there, and where each version of a model runs.

Pure, and it decides nothing: `check.site` proves that a site widens nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from meshward.kit.names import dns_label
from meshward.plan.ir import Model, Plan, Version
from meshward.plan.resolve import resolve
from meshward.policy import site as written
from meshward.policy.schema import Policy
from meshward.policy.servers import HOSTED
from meshward.policy.urls import UnixSocket
from meshward.spiffe.ids import SpiffeId

PORT = 8080
NAMESPACE = "models"
"""Where models are by convention, and the port of their services."""
OWNER = "meshward"
"""The ServiceAccount, in the edge's namespace, that alone may write where `render --owned` is applied."""
WAYPOINT = "mw-waypoint"
"""That of a waypoint, in ambient mode, in each namespace with models: pods there take everything from it."""


@dataclass(frozen=True, slots=True, order=True)
class Workload:
    """A Kubernetes identity."""

    namespace: str
    service_account: str

    def spiffe_id(self, trust_domain: str) -> str:
        return str(SpiffeId(trust_domain, f"/ns/{self.namespace}/sa/{self.service_account}"))


@dataclass(frozen=True, slots=True)
class MeshService:
    """A service of the mesh, by name. `select`: the labels of its pods, sorted; `target_port`: that of the pods."""

    namespace: str
    name: str
    port: int
    target_port: int
    select: tuple[tuple[str, str], ...]
    service_account: str | None
    domain: str  # the cluster's

    @property
    def host(self) -> str:
        return f"{self.name}.{self.namespace}.svc.{self.domain}"


@dataclass(frozen=True, slots=True)
class RemoteGuard:
    """A guard of ours on another machine; `host` is a DNS name or an IP address, without brackets."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Hosted:
    """A hosted endpoint, by its own URL."""

    host: str
    port: int


Place = MeshService | RemoteGuard | Hosted


@dataclass(frozen=True, slots=True)
class MeshSettings:
    """Of the mesh itself."""

    root_namespace: str
    cluster_domain: str
    revision: str | None
    ambient: bool


@dataclass(frozen=True, slots=True)
class EdgePlacement:
    """The edge as a workload; `sidecar`: the loopback address where its own sidecar takes plain HTTP, at each service's
    port: Istio serves there only the services that have the listener's port, by names without one.
    """

    workload: Workload
    select: tuple[tuple[str, str], ...]
    sidecar: str


@dataclass(frozen=True, slots=True)
class PlacedPlan:
    """A plan with the names of one environment: its `plan` says that trust domain, and its workloads' SPIFFE IDs.

    `places` has each version that has one, by (model, version); a version without is on the edge's own machine.
    `convention`: what no site said and was therefore taken by convention, one sentence each.
    """

    plan: Plan
    edge: EdgePlacement
    mesh: MeshSettings
    places: Mapping[tuple[str, str], Place]
    logs: str  # file | sidecar
    convention: tuple[str, ...] = ()

    @property
    def edge_id(self) -> str:
        """The SPIFFE ID by which the edge calls services of the mesh."""
        return self.edge.workload.spiffe_id(self.plan.trust_domain)

    @property
    def own_ids(self) -> frozenset[str]:
        """The SPIFFE IDs of what meshward itself has in a mesh: nobody of a policy may be one of them."""
        guarded = {place.namespace for _, _, place in self.services()} if self.mesh.ambient else set()
        own = (Workload(self.edge.workload.namespace, OWNER), *(Workload(each, WAYPOINT) for each in guarded))
        return frozenset(each.spiffe_id(self.plan.trust_domain) for each in own)

    @property
    def shown_id(self) -> str:
        """The SPIFFE ID of the edge that tokens tell: the mesh's name for it where versions are reached through one."""
        return self.edge_id if self.services() else str(SpiffeId(self.plan.trust_domain, "/edge"))

    def elsewhere(self) -> dict[str, MeshService | RemoteGuard]:
        """The versions that no guard of the edge's own machine answers for, by `<model>/<version>`."""
        return {
            f"{model}/{version}": where
            for (model, version), where in self.places.items()
            if not isinstance(where, Hosted)
        }

    def services(self) -> list[tuple[Model, Version, MeshService]]:
        """The versions behind a service of the mesh, by model and version."""
        return [
            (model, version, place)
            for model in self.plan.models.values()
            for version in model.versions
            if isinstance(place := self.places.get((model.name, version.name)), MeshService)
        ]


def plan_at(policy: Policy, site: written.Site | None) -> Plan:
    """The plan of `policy` as `site` names things; without a site as the policy does."""
    plan = resolve(policy)
    return plan if site is None else place(plan, site).plan


def place(plan: Plan, site: written.Site | None) -> PlacedPlan:
    """`plan` where `site` says that its names live; without a site, where the convention does.

    Names of `site` that the plan has not are left out (`check.site` refuses them).
    """
    return _by_convention(plan) if site is None else _by_site(plan, site)


def _by_site(plan: Plan, site: written.Site) -> PlacedPlan:
    trust_domain = site.trust_domain or plan.trust_domain
    known = written.placed_versions(site)
    places: dict[tuple[str, str], Place] = {}
    for model in plan.models.values():
        for version in model.versions:
            said = known.get((model.name, version.name))
            found = _hosted(version) if said is None else _place(said, site.mesh.cluster_domain)
            if found is not None:
                places[model.name, version.name] = found
    ids = {
        name: Workload(each.namespace, each.service_account).spiffe_id(trust_domain)
        for name, each in site.workloads.items()
        if name in plan.workloads
    }
    return PlacedPlan(
        plan=_renamed(plan, trust_domain, ids),
        edge=_edge(site.edge),
        mesh=_mesh(site.mesh),
        places=places,
        logs=site.logs.source,
    )


def _by_convention(plan: Plan) -> PlacedPlan:
    mesh, edge = _mesh(written.Mesh()), _edge(written.Edge())
    places: dict[tuple[str, str], Place] = {}
    for model in plan.models.values():
        for version in model.versions:
            app, name = dns_label(model.name), dns_label(version.name)
            select = (("app", app), ("version", name))
            service = dns_label(f"{app}-{name}")
            places[model.name, version.name] = _hosted(version) or MeshService(
                NAMESPACE, service, PORT, PORT, select, None, mesh.cluster_domain
            )
    said = (
        f"the trust domain is the policy's, `{plan.trust_domain}`, and workloads have the SPIFFE IDs that it gives",
        f"the edge is ServiceAccount `{edge.workload.service_account}` in namespace `{edge.workload.namespace}`, "
        f"its pods have the labels {_labels(edge.select)}, its sidecar listens at {edge.sidecar}",
        f"version V of model M is service `M-V` in namespace `{NAMESPACE}`, port {PORT}, "
        "of pods with the labels app=M, version=V",
        f"what holds for the whole mesh is in namespace `{mesh.root_namespace}`",
    )
    return PlacedPlan(plan, edge, mesh, places, "file", said)


def _renamed(plan: Plan, trust_domain: str, ids: Mapping[str, str]) -> Plan:
    """With the trust domain and SPIFFE IDs of the site; a workload that it does not name keeps its path."""
    return replace(
        plan,
        trust_domain=trust_domain,
        workloads={
            name: ids.get(name) or f"spiffe://{trust_domain}{_path(said)}"
            for name, said in plan.workloads.items()
        },
        models={
            name: replace(
                model,
                versions=tuple(
                    replace(each, dns_name=f"{dns_label(each.name)}.{dns_label(name)}.{trust_domain}")
                    for each in model.versions
                ),
            )
            for name, model in plan.models.items()
        },
    )


def _path(spiffe_id: str) -> str:
    return "/" + spiffe_id.removeprefix("spiffe://").partition("/")[2]


def _place(said: written.Service | written.Elsewhere, domain: str) -> Place:
    if isinstance(said, written.Elsewhere):
        host, _, port = said.guard.rpartition(":")
        return RemoteGuard(host.strip("[]"), int(port))
    target, select = said.target_port or said.port, _sorted(said.select)
    return MeshService(said.namespace, said.service, said.port, target, select, said.service_account, domain)


def _hosted(version: Version) -> Hosted | None:
    url = version.url
    if version.server != HOSTED or isinstance(url, UnixSocket):
        return None
    return Hosted(url.host, url.port or (443 if url.scheme == "https" else 80))


def _edge(given: written.Edge) -> EdgePlacement:
    workload = Workload(given.workload.namespace, given.workload.service_account)
    return EdgePlacement(workload, _sorted(given.select), given.sidecar)


def _mesh(given: written.Mesh) -> MeshSettings:
    return MeshSettings(given.root_namespace, given.cluster_domain, given.revision, given.mode == "ambient")


def _sorted(labels: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(labels.items()))


def _labels(labels: tuple[tuple[str, str], ...]) -> str:
    return ",".join(f"{key}={value}" for key, value in labels)
