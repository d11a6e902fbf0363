"""istiod as it is, without its injector and its CA, and what it says of the sidecars that it drives."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import yaml  # type: ignore[import-untyped]

from meshward.testing.stand_ins import free_port
from meshward.testing.waiting import eventually
from tests.mesh.lab.process import Process
from tests.mesh.programs import ISTIOD, find

ROOT_NAMESPACE = "istio-system"
# Stock Envoy has neither of the two filters; there is no CA, and no pause longer than a test can see.
_ENVIRONMENT = {
    "PILOT_ENABLE_METADATA_EXCHANGE": "false",
    "PILOT_ENABLE_ALPN_FILTER": "false",
    "ENABLE_CA_SERVER": "false",
    "PILOT_CERT_PROVIDER": "none",
    "POD_NAMESPACE": ROOT_NAMESPACE,
    "POD_NAME": "istiod-0",
    "PILOT_DEBOUNCE_AFTER": "5ms",
}
_UUID = 36  # characters at the end of a nonce; before them stands the push's version


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """The number of a push, and by which it is known: the nonces of what was sent in it."""

    push: int
    nonces: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Istiod:
    """`discovery`: where sidecars ask, plain gRPC on loopback."""

    discovery: int
    mesh_config: Path
    _http: httpx2.Client
    process: Process

    def configured(self) -> dict[tuple[str, str, str], str]:
        """What istiod has read: kind, namespace and name -> resourceVersion."""
        found = self._get("/debug/configz")
        return {
            (given["kind"], given["metadata"].get("namespace", ""), given["metadata"]["name"]): given[
                "metadata"
            ].get("resourceVersion", "")
            for given in found
        }

    @contextmanager
    def gone(self) -> Iterator[None]:
        """Killed for as long; there again when this ends."""
        self.process.kill()
        try:
            yield
        finally:
            self.process.start()
            self.process.wait_until(lambda: _is_ready(self._http))

    def push(self) -> None:
        """Send everything to every sidecar once more: what has not changed changes nothing there."""
        assert self._http.get("/debug/adsz", params={"push": "true"}).status_code == 200

    def acknowledged(self) -> dict[str, Acknowledged]:
        """What each sidecar (`<pod>.<namespace>`) took last; not those that were sent more."""
        found = {sidecar["proxy"]: _acknowledged(sidecar) for sidecar in self._get("/debug/syncz") or []}
        return {name: taken for name, taken in found.items() if taken is not None}

    def configure(self, config: Mapping[str, Any]) -> None:
        """Another MeshConfig, read when this returns."""
        before = self._http.get("/debug/mesh").text
        if yaml.safe_load(self.mesh_config.read_text()) == config:
            return
        half = self.mesh_config.with_suffix(".half")
        half.write_text(yaml.safe_dump(dict(config)))
        half.rename(self.mesh_config)
        eventually(lambda: self._http.get("/debug/mesh").text != before, what="istiod reading its MeshConfig")

    def refusals(self) -> list[str]:
        """What sidecars did not take, in istiod's words."""
        return re.findall(r".*ACK ERROR.*", self.process.log.read_text(errors="replace"))

    def _get(self, path: str) -> Any:
        answer = self._http.get(path)
        assert answer.status_code == 200, (
            f"istiod answers {answer.status_code} to {path}: {answer.text[:200]}"
        )
        return answer.json()


@contextmanager
def running(directory: Path, kubeconfig: Path, mesh_config: Mapping[str, Any]) -> Iterator[Istiod]:
    config = directory / "mesh.yaml"
    config.write_text(yaml.safe_dump(dict(mesh_config)))
    http, discovery, monitoring = free_port(), free_port(), free_port()
    program = find(ISTIOD)
    assert program is not None, "istiod is not here"
    command: list[str | Path] = [
        program, "discovery", "--registries=Kubernetes", "--kubeconfig", kubeconfig, "--meshConfig", config,
        "--namespace", ROOT_NAMESPACE, "--domain", "cluster.local",
        "--httpAddr", f"127.0.0.1:{http}", "--grpcAddr", f"127.0.0.1:{discovery}",
        "--secureGRPCAddr", "", "--httpsAddr", "", "--monitoringAddr", f"127.0.0.1:{monitoring}",
        "--ctrlz_port", "0",
    ]  # fmt: skip
    process = Process("istiod", command, directory / "istiod.log", _ENVIRONMENT)
    client = httpx2.Client(base_url=f"http://127.0.0.1:{http}", trust_env=False, timeout=60)
    try:
        process.wait_until(lambda: _is_ready(client))
        yield Istiod(discovery, config, client, process)
    finally:
        client.close()
        process.stop()


def wait_until_read(istiod: Istiod, wanted: Mapping[tuple[str, str, str], str | None]) -> None:
    """Until istiod has read each of these as it is now; None: that it is gone. Versions are the API server's."""

    def has_read() -> bool:
        found = istiod.configured()
        return all(_has(found.get(key), version) for key, version in wanted.items())

    eventually(has_read, what=f"istiod reading {len(wanted)} objects")


def _has(found: str | None, wanted: str | None) -> bool:
    return found is None if wanted is None else found is not None and int(found) >= int(wanted)


def _acknowledged(sidecar: Mapping[str, Any]) -> Acknowledged | None:
    """Clusters and listeners are in every push; routes and endpoints only where there are some."""
    sent = {kind: sidecar.get(f"{kind}_sent", "") for kind in ("cluster", "listener", "route", "endpoint")}
    if any(nonce != sidecar.get(f"{kind}_acked", "") for kind, nonce in sent.items()):
        return None
    always = (sent["cluster"], sent["listener"])
    if "" in always:
        return None
    return Acknowledged(min(int(nonce[:-_UUID].rpartition("/")[2]) for nonce in always), always)


def _is_ready(client: httpx2.Client) -> bool:
    try:
        return client.get("/ready").status_code == 200
    except httpx2.TransportError:
        return False
