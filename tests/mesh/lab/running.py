"""The lab as tests use it: apply objects, start workloads, wait until all of it is enforced, ask.

    chat = lab.start(Workload("chat-0", "models", "chat", {"app": "chat"}, port=8080, service="chat"))
    lab.apply(objects)
    lab.settled()
    answer = lab.request(lab.svid("edge", "nginx"), chat, Call("POST", "/v1/chat/completions", token))

Everything that was applied or started since the last `reset` is gone after the next one.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from meshward.spiffe.ca import Authority
from meshward.spiffe.certificates import LeafCredential
from meshward.testing.recorder import Recorder
from meshward.testing.stand_ins import free_port
from meshward.testing.waiting import eventually
from tests.mesh import network
from tests.mesh.lab import api_server, istiod, svids, workload
from tests.mesh.lab.api_server import ApiServer
from tests.mesh.lab.client import Answer, Call, send, tls
from tests.mesh.lab.istiod import ROOT_NAMESPACE, Istiod, wait_until_read
from tests.mesh.lab.kubernetes_api import MANAGER, Json, KubernetesApi, Refused
from tests.mesh.lab.sidecar import Sidecar
from tests.mesh.lab.svids import SecretServer
from tests.mesh.lab.workload import Workload

Key = tuple[str, str, str]  # kind, namespace, name
_ISTIO = ("istio.io/", "gateway.networking.k8s.io/")
_LAB = "lab"  # the lab's own namespace: nobody's workload is there
# Which others may have written, `apply` for one; what keeps all but its writer from the rest goes first.
_OTHERS = [
    ("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicyBinding"),
    ("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy"),
    *(
        ("security.istio.io/v1", kind)
        for kind in ("AuthorizationPolicy", "PeerAuthentication", "RequestAuthentication")
    ),
    *(
        ("networking.istio.io/v1", kind)
        for kind in ("DestinationRule", "ServiceEntry", "Sidecar", "VirtualService", "WorkloadEntry")
    ),
    ("networking.istio.io/v1alpha3", "EnvoyFilter"),
    ("telemetry.istio.io/v1", "Telemetry"),
    ("gateway.networking.k8s.io/v1", "HTTPRoute"),
    ("v1", "ConfigMap"),
    ("coordination.k8s.io/v1", "Lease"),
]
LOG_FORMAT = {
    "rid": "%REQ(X-REQUEST-ID)%",
    "peer": "%DOWNSTREAM_PEER_URI_SAN%",
    "code": "%RESPONSE_CODE%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "path": "%REQ(:PATH)%",
    "policy": "%DYNAMIC_METADATA(envoy.filters.http.rbac)%",
}


def mesh_config(trust_domain: str) -> Json:
    """What a mesh's owner would have, with an access log of every sidecar in JSON."""
    return {
        "trustDomain": trust_domain,
        "rootNamespace": ROOT_NAMESPACE,
        "accessLogFile": "/dev/stdout",
        "accessLogEncoding": "JSON",
        "accessLogFormat": json.dumps(LOG_FORMAT),
    }


@dataclass
class Lab:
    """`trust_domain` is the mesh's. `kubeconfig` acts as the cluster's admin."""

    trust_domain: str
    directory: Path
    server: ApiServer
    istiod: Istiod
    authority: Authority
    secrets: SecretServer
    _addresses: Iterator[str] = field(default_factory=network.addresses)
    _sidecars: dict[str, Sidecar] = field(default_factory=dict)
    _backends: dict[str, Recorder] = field(default_factory=dict)
    _applied: dict[Key, Json] = field(default_factory=dict)
    _awaited: dict[Key, str | None] = field(default_factory=dict)
    _touches: Iterator[int] = field(default_factory=itertools.count)

    @property
    def api(self) -> KubernetesApi:
        return self.server.api

    @property
    def kubeconfig(self) -> Path:
        return self.server.kubeconfig

    def apply(self, objects: Iterable[Json], *, manager: str = MANAGER, dry_run: bool = False) -> None:
        """Server-side apply, in this order; namespaces that are missing are made. Raises Refused."""
        for given in objects:
            self._have_namespace(given["metadata"].get("namespace"))
            stored = self.api.apply(given, manager=manager, dry_run=dry_run)
            if dry_run:
                continue
            self._applied[_key(given)] = given
            self._await(given, stored["metadata"]["resourceVersion"])

    def delete(self, objects: Iterable[Json]) -> None:
        """Also where they are not there."""
        for given in objects:
            self.api.delete(given)
            self._applied.pop(_key(given), None)
            self._await(given, None)

    def configure(self, more: Mapping[str, Any]) -> None:
        """The lab's MeshConfig with `more` in it; without, it is as in the beginning."""
        whole = {**mesh_config(self.trust_domain), **more}
        self.istiod.configure(whole)
        self.api.apply(_config_map(whole))

    def start(self, started: Workload) -> Sidecar:
        """Its pod, its Service, its sidecar and a program behind that; ready when this returns, if it has a port."""
        address, backend = next(self._addresses), self.directory / f"{len(self._backends)}.sock"
        self._backends[started.key] = Recorder(backend)
        self.secrets.know(started.name, started.namespace, started.service_account)
        self._have_namespace(started.namespace)
        pod = workload.pod(started)
        self.apply([pod])
        self.api.set_status(pod, workload.pod_status(address))
        self.apply(workload.objects(started, address, f"unix://{backend}"))
        sidecar = Sidecar(
            started, address, self.directory, self.istiod.discovery, self.secrets.port, free_port()
        )
        sidecar.start()
        self._sidecars[started.key] = sidecar
        sidecar.wait_ready()
        return sidecar

    def sidecar(self, of: Workload) -> Sidecar:
        return self._sidecars[of.key]

    def backend(self, of: Workload) -> Recorder:
        """The program behind its sidecar, and what reached it."""
        return self._backends[of.key]

    def svid(self, namespace: str, account: str, authority: Authority | None = None) -> LeafCredential:
        """The mesh's own, or what another authority would say."""
        return svids.svid(authority or self.authority, namespace, account)

    def request(
        self, client: LeafCredential | None, target: Workload | Sidecar, call: Call, *, plain: bool = False
    ) -> Answer:
        """Ask a sidecar directly, as the holder of `client`; without TLS where it is `plain`."""
        sidecar = target if isinstance(target, Sidecar) else self.sidecar(target)
        port = sidecar.workload.port
        assert port is not None, f"{sidecar.workload.key} only calls"
        context = None if plain else tls(client, self.authority.root_pem)
        answer = send(call, sidecar.address, port, context)
        if answer.status is None:
            return answer
        return replace(answer, details=str(sidecar.line_of(answer.request_id).get("details") or ""))

    def through(self, own: str, port: int, host: str, call: Call) -> Answer:
        """Ask for `host` as a program does that is next to its own sidecar, which listens at `own` for it alone."""
        return send(replace(call, headers=(("host", host), *call.headers)), own, port, None)

    def settled(self) -> None:
        """Until every sidecar enforces all that was applied or deleted. Raises AssertionError where one refused it.

        istiod's pushes are numbered. Who has taken the second one that began after istiod had read everything has taken
        everything: the one that was being made meanwhile may lack some of it.
        """
        wait_until_read(self.istiod, self._awaited)
        self._awaited.clear()
        if not self._sidecars:
            return
        first = self._pushed()
        while self._pushed() < first + 2:
            self._touch()
        sidecars = list(self._sidecars.values())
        eventually(lambda: not any(sidecar.warming() for sidecar in sidecars), what="what warms")
        self.assert_accepted()

    def take_note(self) -> None:
        """Of what others wrote or deleted: `settled` then waits for that as well."""
        there = {
            _key(each): each for kind in _OTHERS for each in self.api.list(*kind, "*") if _is_others(each)
        }
        for gone in self.istiod.configured().keys() - there.keys():
            if gone[0] in {kind for _, kind in _OTHERS}:
                self._awaited[gone] = None
        for each in there.values():
            self._await(each, each["metadata"]["resourceVersion"])

    def drained(self) -> None:
        """Settled, and on open connections too: those that a changed listener had, it serves as before for a while."""
        self.settled()
        sidecars = list(self._sidecars.values())
        eventually(lambda: not any(sidecar.draining() for sidecar in sidecars), what="what drains")

    def assert_accepted(self) -> None:
        """No sidecar refused anything that istiod or the secret server sent it."""
        refused = {key: found for key, sidecar in self._sidecars.items() if (found := sidecar.refusals())}
        assert not refused, refused
        assert not self.istiod.refusals(), self.istiod.refusals()[-1]
        assert not self.secrets.refused, self.secrets.refused

    def reset(self) -> None:
        """Stop every workload, delete every object that was applied here, and what others wrote into the mesh."""
        for sidecar in self._sidecars.values():
            sidecar.stop()
        for backend in self._backends.values():
            backend.close()
        self._sidecars.clear()
        self._backends.clear()
        self.configure({})
        for kind in _OTHERS:
            for each in filter(_is_others, self.api.list(*kind, "*")):
                eventually(lambda each=each: self._is_deleted(each), what=f"who may delete {each['kind']}")  # type: ignore[misc]
        self.delete(list(self._applied.values()))
        self.wait_read()

    def _is_deleted(self, given: Json) -> bool:
        """Whether it could be: an admission policy holds for a moment after it is gone."""
        try:
            self.delete([given])
        except Refused as refused:
            if refused.status != 422:
                raise
            return False
        return True

    def wait_read(self) -> None:
        """Until istiod has read all that was applied or deleted, whether or not anybody needs it."""
        wait_until_read(self.istiod, self._awaited)
        self._awaited.clear()

    def _pushed(self) -> int:
        """Have everything sent once more as istiod has it now: the number of that push, once every sidecar has it."""
        before = self.istiod.acknowledged()
        self.istiod.push()

        def number() -> int:
            there = self.istiod.acknowledged()
            if any(key not in there or there[key] == before.get(key) for key in self._sidecars):
                return 0
            return min(there[key].push for key in self._sidecars)

        return eventually(number, what="every sidecar taking what istiod sends")

    def _touch(self) -> None:
        """Change what concerns nobody: istiod then makes a new push."""
        host = f"n{next(self._touches)}.lab.invalid"
        port = {"number": 80, "name": "http", "protocol": "HTTP"}
        touched = {
            "apiVersion": "networking.istio.io/v1",
            "kind": "ServiceEntry",
            "metadata": {"name": "touched", "namespace": _LAB},
            "spec": {"hosts": [host], "ports": [port], "resolution": "NONE", "exportTo": ["."]},
        }
        self._have_namespace(_LAB)
        version = self.api.apply(touched)["metadata"]["resourceVersion"]
        wait_until_read(self.istiod, {_key(touched): version})

    def _have_namespace(self, name: str | None) -> None:
        if name:
            self.api.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})

    def _await(self, given: Json, version: str | None) -> None:
        if any(part in given["apiVersion"] for part in _ISTIO):
            self._awaited[_key(given)] = version


@contextmanager
def running(
    directory: Path, schemas: Path, trust_domain: str, config: Mapping[str, Any] | None = None
) -> Iterator[Lab]:
    """A cluster with nothing in it but the mesh's own namespace. `schemas`: the resources that it has."""
    with ExitStack() as stack:
        server = stack.enter_context(api_server.running(directory))
        api_server.define_resources(server.api, schemas)
        root = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": ROOT_NAMESPACE}}
        server.api.apply(root)
        control = stack.enter_context(
            istiod.running(directory, server.kubeconfig, config or mesh_config(trust_domain))
        )
        authority = svids.make_authority(trust_domain)
        secrets = SecretServer(authority, free_port())
        stack.callback(secrets.close)
        lab = Lab(trust_domain, directory, server, control, authority, secrets)
        server.api.apply(_config_map(config or mesh_config(trust_domain)))
        stack.callback(lab.reset)
        yield lab


def _is_others(given: Json) -> bool:
    """Of ConfigMaps and Leases only what is called ours: the cluster has its own."""
    return given["kind"] not in ("ConfigMap", "Lease") or given["metadata"]["name"].startswith("meshward.")


def _config_map(config: Mapping[str, Any]) -> Json:
    """Where an installation keeps it; who looks at a cluster reads it there."""
    meta = {"name": "istio", "namespace": ROOT_NAMESPACE}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"mesh": json.dumps(config)}}


def _key(given: Json) -> Key:
    meta = given["metadata"]
    return given["kind"], meta.get("namespace", ""), meta["name"]
