"""Who is who in the mesh: SVIDs of a trust domain, and an SDS server that hands them to sidecars.

A mesh's certificates carry a URI and nothing else, as istiod's own and SPIRE's do.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from concurrent import futures
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
from cryptography.hazmat.primitives import serialization

from meshward.spiffe.ca import Authority
from meshward.spiffe.certificates import LeafCredential, make_issuing, make_root
from meshward.spiffe.ids import SpiffeId
from tests.mesh.lab import protobuf
from tests.mesh.lab.protobuf import message

SECRET = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
_STREAM = "envoy.service.secret.v3.SecretDiscoveryService"
_STREAMS = 512  # threads at most: each secret of each sidecar is a stream


def make_authority(trust_domain: str) -> Authority:
    """A root and an intermediate, in memory only."""
    now = datetime.now(UTC)
    root = make_root(trust_domain, now)
    return Authority(trust_domain, root.certificate, make_issuing(trust_domain, root, now))


def svid(authority: Authority, namespace: str, account: str) -> LeafCredential:
    """What a mesh calls a workload: by its namespace and ServiceAccount."""
    return leaf(authority, SpiffeId(authority.trust_domain, f"/ns/{namespace}/sa/{account}"))


def leaf(authority: Authority, name: SpiffeId) -> LeafCredential:
    return authority.issue(name, None, datetime.now(UTC))


@dataclass
class SecretServer:
    """Answers `default`, `ROOTCA` and `file-root:…` to sidecars that it was told of, by the name in their node's id."""

    authority: Authority
    port: int
    _accounts: dict[str, tuple[str, str]] = field(default_factory=dict)  # `<pod>.<namespace>` -> account
    _streams: set[queue.SimpleQueue[_Request | None]] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    refused: list[str] = field(default_factory=list)  # what a sidecar said of a secret that it did not take

    def __post_init__(self) -> None:
        handler = grpc.stream_stream_rpc_method_handler(self._serve)
        self._server = grpc.server(futures.ThreadPoolExecutor(_STREAMS))
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(_STREAM, {"StreamSecrets": handler}),)
        )
        assert self._server.add_insecure_port(f"127.0.0.1:{self.port}") == self.port
        self._server.start()

    def know(self, pod: str, namespace: str, account: str) -> None:
        self._accounts[f"{pod}.{namespace}"] = (namespace, account)

    def renew(self, authority: Authority | None = None) -> None:
        """Give every sidecar a new SVID, of another `authority` where one is given."""
        with self._lock:
            self.authority = authority or self.authority
            streams = list(self._streams)
        for stream in streams:
            stream.put(_RENEW)

    def close(self) -> None:
        with self._lock:
            streams = list(self._streams)
        for stream in streams:
            stream.put(None)
        self._server.stop(0).wait()

    def _serve(self, requests: Iterator[bytes], _: Any) -> Iterator[bytes]:
        """One stream: a secret is sent when it is asked for, and again when it is renewed."""
        events: queue.SimpleQueue[_Request | None] = queue.SimpleQueue()
        threading.Thread(target=_pass_on, args=(requests, events), daemon=True).start()
        with self._lock:
            self._streams.add(events)
        node, version = "", 0
        names: list[str] = []
        try:
            while (event := events.get()) is not None:
                node = event.node or node
                if event.error:
                    self.refused.append(event.error)
                if event.is_acknowledgement and event.names in ([], names):
                    continue
                names, version = event.names or names, version + 1
                yield _response([self._secret(node, name) for name in names], str(version))
        finally:
            with self._lock:
                self._streams.discard(events)

    def _secret(self, node: str, name: str) -> bytes:
        if name == "ROOTCA":
            return _trusted(name, self.authority.root_pem.encode())
        if name.startswith("file-root:"):
            path = name.removeprefix("file-root:")
            system = "/etc/ssl/certs/ca-certificates.crt"
            return _trusted(name, Path(system if path == "system" else path).read_bytes())
        leaf = svid(self.authority, *self._accounts[node.split("~")[2]])
        certificate = message(
            (1, message((2, leaf.chain.encode()))), (2, message((2, leaf.key.reveal().encode())))
        )
        return message((1, name.encode()), (2, certificate))


@dataclass(frozen=True, slots=True)
class _Request:
    """What a DiscoveryRequest says to us."""

    node: str
    names: list[str]
    is_acknowledgement: bool
    error: str


_RENEW = _Request("", [], is_acknowledgement=False, error="")


def _pass_on(requests: Iterator[bytes], events: queue.SimpleQueue[_Request | None]) -> None:
    try:
        for request in requests:
            events.put(_read(request))
    except grpc.RpcError:
        pass
    events.put(None)


def _read(request: bytes) -> _Request:
    fields = protobuf.fields(request)
    node = protobuf.fields(fields[2][0]).get(1, [b""])[0] if 2 in fields else b""
    error = protobuf.fields(fields[6][0]).get(2, [b"refused"])[0] if 6 in fields else b""
    names = [name.decode() for name in fields.get(3, [])]
    return _Request(node.decode(), names, bool(fields.get(5, [b""])[0]), error.decode())


def _response(secrets: list[bytes], version: str) -> bytes:
    packed = [(2, message((1, SECRET.encode()), (2, secret))) for secret in secrets]
    return message((1, version.encode()), *packed, (4, SECRET.encode()), (5, version.encode()))


def _trusted(name: str, pem: bytes) -> bytes:
    return message((1, name.encode()), (4, message((1, message((2, pem))))))


def pem_of_root(authority: Authority) -> bytes:
    return authority.root.public_bytes(serialization.Encoding.PEM)
