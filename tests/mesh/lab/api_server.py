"""etcd and kube-apiserver, real ones, with the definitions of Istio's and the Gateway API's resources."""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import yaml  # type: ignore[import-untyped]
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from meshward.spiffe.certificates import SERVER, make_leaf, make_root
from meshward.testing.stand_ins import free_port
from tests.mesh.lab.kubernetes_api import KubernetesApi
from tests.mesh.lab.process import Process
from tests.mesh.network import PODS, SERVICES
from tests.mesh.programs import ETCD, KUBE_APISERVER, find

ISSUER = "https://kubernetes.default.svc"


@dataclass(frozen=True, slots=True)
class ApiServer:
    """`api` acts as system:masters, `kubeconfig` too. `url`, `authority`: for other users' kubeconfigs."""

    api: KubernetesApi
    kubeconfig: Path
    url: str
    authority: Path

    def kubeconfig_of(self, token: str, path: Path) -> Path:
        """A kubeconfig for the holder of `token`, written to `path`."""
        return _write_kubeconfig(path, self.url, self.authority, token)


@contextmanager
def running(directory: Path) -> Iterator[ApiServer]:
    """An empty cluster that keeps its files in `directory`."""
    with _etcd(directory) as store:
        port, token = free_port(), secrets.token_urlsafe(24)
        url = f"https://127.0.0.1:{port}"
        authority = _write_keys(directory)
        (directory / "tokens.csv").write_text(f'{token},admin,admin,"system:masters"\n')
        process = Process("kube-apiserver", _command(directory, store, port), directory / "apiserver.log")
        api = KubernetesApi(url, authority, token)
        try:
            process.wait_until(lambda: _answers(api))
            yield ApiServer(
                api, _write_kubeconfig(directory / "kubeconfig", url, authority, token), url, authority
            )
        finally:
            api.close()
            process.stop()


def define_resources(api: KubernetesApi, schemas: Path) -> None:
    """Apply the CustomResourceDefinitions of `schemas`, and wait until they are served."""
    files = [schemas / "istio/crd-all.gen.yaml", *sorted((schemas / "gateway-api/standard").glob("*.yaml"))]
    definitions: list[dict[str, Any]] = []
    for file in files:
        for given in yaml.load_all(file.read_text(), Loader=yaml.CSafeLoader):
            if given and given["kind"] == "CustomResourceDefinition":
                given.pop("status", None)
                api.apply(given)
                definitions.append(given)
    api.wait_established(definitions)


def _answers(api: KubernetesApi) -> bool:
    try:
        return api.is_ready()
    except httpx2.TransportError:
        return False


@contextmanager
def _etcd(directory: Path) -> Iterator[str]:
    client, peer = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
    command: list[str | Path] = [
        _found(ETCD), "--unsafe-no-fsync", "--data-dir", directory / "etcd",
        "--listen-client-urls", client, "--advertise-client-urls", client,
        "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}",
    ]  # fmt: skip
    process = Process("etcd", command, directory / "etcd.log")
    try:
        process.wait_until(lambda: _is_healthy(client))
        yield client
    finally:
        process.stop()


def _is_healthy(url: str) -> bool:
    try:
        return httpx2.get(f"{url}/health", trust_env=False).status_code == 200
    except httpx2.TransportError:
        return False


def _command(directory: Path, store: str, port: int) -> list[str | Path]:
    return [
        _found(KUBE_APISERVER),
        f"--etcd-servers={store}",
        f"--secure-port={port}",
        "--bind-address=127.0.0.1",
        f"--advertise-address={PODS[1]}",
        f"--tls-cert-file={directory}/server.pem",
        f"--tls-private-key-file={directory}/server.key",
        f"--client-ca-file={directory}/authority.pem",
        f"--service-account-key-file={directory}/accounts.key",
        f"--service-account-signing-key-file={directory}/accounts.key",
        f"--service-account-issuer={ISSUER}",
        f"--service-cluster-ip-range={SERVICES}",
        "--authorization-mode=RBAC",
        f"--token-auth-file={directory}/tokens.csv",
        "--disable-admission-plugins=ServiceAccount",
        "--allow-privileged=true",
        f"--cert-dir={directory}",
    ]


def _write_keys(directory: Path) -> Path:
    """The server's certificate and the key that signs tokens of ServiceAccounts; returns the authority's file."""
    now = datetime.now(UTC)
    root = make_root("lab.test", now)
    leaf = make_leaf(
        root, [x509.IPAddress(ipaddress.ip_address("127.0.0.1"))], [SERVER], now, timedelta(days=1)
    )
    (directory / "authority.pem").write_bytes(root.certificate.public_bytes(serialization.Encoding.PEM))
    (directory / "server.pem").write_text(leaf.chain)
    (directory / "server.key").write_text(leaf.key.reveal())
    accounts = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    (directory / "accounts.key").write_bytes(
        accounts.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
    )
    return directory / "authority.pem"


def _write_kubeconfig(path: Path, url: str, authority: Path, token: str) -> Path:
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "lab", "cluster": {"server": url, "certificate-authority": str(authority)}}],
        "users": [{"name": "lab", "user": {"token": token}}],
        "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "lab"}}],
        "current-context": "lab",
    }
    path.touch(0o600)
    path.write_text(yaml.safe_dump(content))
    return path


def _found(program: Any) -> Path:
    path = find(program)
    assert path is not None, f"{program.name} is not here"
    return path
