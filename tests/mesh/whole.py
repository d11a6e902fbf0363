"""A running system: `meshward up --site` as the edge, its sidecar, and the models' sidecars by istiod."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from meshward.kit.durable import write_atomic
from meshward.policy.parse import to_json
from meshward.targets.istio.logs import mesh_config
from meshward.testing.given import policy_of
from meshward.testing.instance import START
from meshward.testing.stand_ins import StandIns, free_port
from meshward.tokens.key_store import load
from meshward.tokens.keys import SigningKeys
from tests.mesh.lab import Lab, Workload
from tests.mesh.lab.sidecar import Sidecar
from tests.mesh.rendered import edge, placed, serving
from tests.stack.inside import Inside
from tests.stack.running import Stack


class Edge(Stack):
    """An instance that is started with a site."""

    @property
    def site(self) -> Path:
        return self.outside.directory / "site.yaml"

    def _start(self) -> subprocess.Popen[str]:
        given = [str(self.policy), "--site", str(self.site), "--state", str(self.state)]
        with self.log.open("w") as log:
            return subprocess.Popen(
                [sys.executable, "-m", self.program, *START, *given],
                stdout=log,
                stderr=log,
                text=True,
                start_new_session=True,
            )


@dataclass
class Whole:
    """`edge` is the instance; `policy` and `site` are those in force. `workloads`: by model and version."""

    lab: Lab
    edge: Edge
    policy: Mapping[str, Any]
    workloads: Mapping[tuple[str, str], Workload]

    def sidecar(self, model: str, version: str = "v1") -> Sidecar:
        return self.lab.sidecar(self.workloads[model, version])

    def put_into_mesh(self) -> None:
        """Have the mesh enforce what the edge's policy file says, on open connections too: `meshward apply`."""
        given = [str(self.edge.policy), "--site", str(self.edge.site), "--target", "istio"]
        more = ["--kubeconfig", str(self.lab.kubeconfig), "--allow", "widening", "--reason", "a test"]
        done = self.edge.command("apply", *given, *more)
        assert done.returncode == 0, done.stdout + done.stderr
        self.lab.take_note()
        self.lab.drained()

    def change(self, policy: Mapping[str, Any]) -> None:
        """In force at both hops: what is lost closes at the edge first, and what is gained opens in the mesh first."""
        self.write(policy)
        self.put_into_mesh()
        self.edge.apply(policy)

    def write(self, policy: Mapping[str, Any]) -> None:
        self.policy = policy
        write_atomic(self.edge.policy, to_json(self.edge.outside.put_into(policy_of(policy))))

    def minted(self, permission: str) -> str:
        """A token as the edge mints it just now."""
        return Inside(self.edge).txn(permission)

    def keys(self) -> SigningKeys:
        return load(self.edge.state / "keys")

    def ask(self, groups: tuple[str, ...], target: str, **more: Any) -> Any:
        """Through the edge, as a person of the issuer `x`."""
        token = self.edge.token("x", "ann", groups)
        return self.edge.call(
            more.pop("method", "POST"), target, token, more.pop("body", {"inputs": "a"}), **more
        )


@contextmanager
def running(lab: Lab, directory: Path, policy: Mapping[str, Any], site: Mapping[str, Any]) -> Iterator[Whole]:
    """All of it, in force. `directory`: short, and others may pass it."""
    plan = placed(policy, {key: value for key, value in site.items() if key != "version"})
    with closing(StandIns(directory, free_port())) as outside:
        put = outside.put_into(policy_of(policy))
        (directory / "policy.yaml").write_text(to_json(put))
        (directory / "site.yaml").write_text(json.dumps({"version": 1, **site}))
        workloads = serving(plan)
        for workload in dict.fromkeys(each.key for each in workloads.values()):
            lab.start(next(each for each in workloads.values() if each.key == workload))
        with Edge(outside, str(put.edge.hostname)) as instance:
            whole = Whole(lab, instance, policy, workloads)
            try:
                lab.configure(mesh_config(plan, gateway_api=False))
                lab.start(edge(plan))
                whole.put_into_mesh()
                yield whole
            finally:
                lab.reset()
