"""A workload as a cluster would show it: a pod with a sidecar, and the Service that finds it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]
_INJECTED = {"security.istio.io/tlsMode": "istio"}


@dataclass(frozen=True, slots=True)
class Workload:
    """One pod. `port`: where its sidecar answers for it; None: it only calls. `service_port`: where its Service is.

    `sees`: what its sidecar may call, as a Sidecar resource says it (`namespace/host`).
    `writes_sidecar`: whether the lab writes that resource; else somebody else does.
    """

    name: str
    namespace: str
    service_account: str
    labels: Mapping[str, str] = field(default_factory=dict)
    port: int | None = None
    service: str | None = None
    service_port: int | None = None
    sees: tuple[str, ...] = ("~/*",)
    writes_sidecar: bool = True

    @property
    def key(self) -> str:
        return f"{self.name}.{self.namespace}"


def namespace_of(workload: Workload) -> Json:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": workload.namespace}}


def objects(workload: Workload, address: str, backend: str) -> list[Json]:
    """All of it but its namespace and its pod. `backend`: where its sidecar finds the program itself."""
    found = [_account(workload)]
    if workload.service and workload.port:
        found += [_service(workload), _endpoints(workload, address)]
    if workload.writes_sidecar:
        found.append(_sidecar(workload, address, backend))
    return found


def pod(workload: Workload) -> Json:
    """As the injector leaves it: a container of its own, and the sidecar's."""
    ports = [{"containerPort": workload.port}] if workload.port else []
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": workload.name,
            "namespace": workload.namespace,
            "labels": {**workload.labels, **_INJECTED},
            "annotations": {"sidecar.istio.io/status": '{"containers":["istio-proxy"],"revision":"default"}'},
        },
        "spec": {
            "serviceAccountName": workload.service_account,
            "containers": [
                {"name": "server", "image": "server.invalid/server", "ports": ports},
                {"name": "istio-proxy", "image": "proxy.invalid/proxy"},
            ],
        },
    }


def pod_status(address: str) -> Json:
    ready = {"type": "Ready", "status": "True"}
    return {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}], "conditions": [ready]}


def _account(workload: Workload) -> Json:
    meta = {"name": workload.service_account, "namespace": workload.namespace}
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta}


def _service(workload: Workload) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": workload.service, "namespace": workload.namespace},
        "spec": {
            "selector": dict(workload.labels),
            "ports": [
                {
                    "name": "http",
                    "port": workload.service_port or workload.port,
                    "targetPort": workload.port,
                    "appProtocol": "http",
                }
            ],
        },
    }


def _endpoints(workload: Workload, address: str) -> Json:
    """What the controller that is not here would write of the Service."""
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": workload.name,
            "namespace": workload.namespace,
            "labels": {"kubernetes.io/service-name": workload.service},
        },
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": workload.port, "protocol": "TCP", "appProtocol": "http"}],
        "endpoints": [
            {
                "addresses": [address],
                "conditions": {"ready": True},
                "targetRef": {"kind": "Pod", "name": workload.name, "namespace": workload.namespace},
            }
        ],
    }


def _sidecar(workload: Workload, address: str, backend: str) -> Json:
    """Opens its port: nothing redirects connections to it here."""
    spec: Json = {
        "workloadSelector": {"labels": dict(workload.labels)},
        "outboundTrafficPolicy": {"mode": "REGISTRY_ONLY"},
        "egress": [{"hosts": list(workload.sees)}],
    }
    if workload.port:
        listener = {"number": workload.port, "protocol": "HTTP", "name": "http"}
        spec["ingress"] = [
            {"port": listener, "bind": address, "captureMode": "NONE", "defaultEndpoint": backend}
        ]
    meta = {"name": workload.name, "namespace": workload.namespace}
    return {"apiVersion": "networking.istio.io/v1", "kind": "Sidecar", "metadata": meta, "spec": spec}
