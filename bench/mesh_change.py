"""A rule of a mesh, changed by `apply`: when the model's sidecar enforces it, with a thousand models there.

It runs in a network namespace of its own (scripts/mesh.sh), with the real API server, istiod and Envoy of tests/mesh.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.mesh import programs
from tests.mesh.lab import Call, running
from tests.mesh.lab.client import send, tls
from tests.mesh.rendered import Mesh, edge, placed, serving
from tests.stack.policies import TRUST_DOMAIN

from bench.figures import Verdict, middle, shown
from bench.processes import BenchError
from bench.report import Section, prose, say, table
from bench.scale import GRANTS, MODELS, ROLES, policy
from meshward.cli.cluster import ClusterOptions, read_wanted
from meshward.cluster.applying import ApplyRequest, apply
from meshward.cluster.connection import Connection, Object, Query, connect
from meshward.cluster.preparing import Wanted
from meshward.plan.placement import PORT
from meshward.targets.istio.logs import mesh_config

CHANGES = 30
MODEL = "model-0000"
GIVEN = {"id": "watch", "roles": ["role-00"], "models": [MODEL], "actions": ["observe"]}
_ROOT = Path(__file__).parents[1]
_GIVE_UP = 120.0  # seconds


@dataclass
class Measured:
    """Milliseconds. `first`: of the apply that writes everything; `objects`: how many that is. `odd`: answers.

    From the beginning of an apply until it is `enforced` or all is `applied`; `written`: from the rule's own write.
    """

    objects: int
    first: float
    enforced: list[float] = field(default_factory=list)
    written: list[float] = field(default_factory=list)
    applied: list[float] = field(default_factory=list)
    odd: int = 0


def measure(directory: Path, rounds: int) -> Section:  # noqa: ARG001 - each change is one
    missing = [program.name for program in programs.PROGRAMS if programs.find(program) is None]
    if missing or "MESHWARD_TEST_DATA" not in os.environ:
        raise BenchError(
            f"{', '.join(missing) or 'MESHWARD_TEST_DATA'} is not here: `make test-mesh` says more"
        )
    out = directory / "mesh.json"
    command = [
        "sh",
        "scripts/mesh.sh",
        "--",
        sys.executable,
        "-m",
        "bench.mesh_change",
        str(directory),
        str(out),
    ]
    if subprocess.run(command, cwd=_ROOT, check=False).returncode or not out.exists():
        raise BenchError("the mesh did not run to its end; what it said stands above")
    found = Measured(**json.loads(out.read_text()))
    verdicts = [
        Verdict("a rule change by apply to enforced at Envoy, p99", _late(found.enforced), 1000, "ms"),
        Verdict("of it, from the rule's write to enforced, p99", _late(found.written), 1000, "ms"),
        Verdict("answers meanwhile that were neither the old nor the new rule's", found.odd, 0, ""),
    ]
    rows = [
        ["from the beginning of apply until enforced, for new connections", *_spread(found.enforced)],
        ["from the rule's write at the API server until then", *_spread(found.written)],
        ["from the beginning of apply until it has seen all of it there", *_spread(found.applied)],
    ]
    return Section("mesh", "A rule change in a mesh", [
        *table(["what", "target", "measured", "verdict"], [verdict.cells() for verdict in verdicts]),
        "",
        *table(["time", "min ms", "p50 ms", "p99 ms"], rows),
        "",
        *prose(
            f"{MODELS:,} models, {GRANTS:,} grants and {ROLES} roles as {found.objects:,} objects in a real API",
            "server, under the real istiod; the edge's pod and one model's are there, with their sidecars. A grant is",
            f"given and taken by turns, {CHANGES} times, each by one apply in the process that rendered both; the",
            "sidecar is asked on new connections until it answers by the new rule. Before its first write an apply",
            "reads all of ours in the cluster, compares who gains and who loses, and has the API server judge what it",
            "will write. Times are",
            f"by the clock, because people wait for them. The first apply took {found.first / 1000:.0f} s.",
        ),
    ])  # fmt: skip


def _spread(took: list[float]) -> list[str]:
    ordered = sorted(took)
    return [shown(ordered[0]), shown(middle(took)), shown(_late(took))]


def _late(took: list[float]) -> float:
    """The 99th percentile, or the worst of fewer than a hundred."""
    return sorted(took)[len(took) * 99 // 100]


def _inside(directory: Path) -> Measured:
    """In the namespace: start, apply all, change."""
    (directory / "lab").mkdir()
    schemas = Path(os.environ["MESHWARD_TEST_DATA"]) / "schemas"
    with running(directory / "lab", schemas, TRUST_DOMAIN) as lab:
        mesh = Mesh.of(lab, placed(_policy(directory, given=False)))
        workload = serving(mesh.plan)[MODEL, "v1"]
        lab.configure(mesh_config(mesh.plan, gateway_api=False))
        sidecar = lab.start(workload)
        lab.start(edge(mesh.plan))
        (directory / "keys.json").write_text(json.dumps({"keys": mesh.mint.jwks}))
        taken, given = (_wanted(directory, given=given) for given in (False, True))
        server = _watched(lab.kubeconfig)
        say(f"mesh: applying {len(taken.bodies):,} objects")
        began = time.monotonic()
        apply(server, taken, _REQUEST, lambda _: None)
        first = (time.monotonic() - began) * 1000
        lab.settled()
        caller = mesh.plan.edge.workload
        context = tls(lab.svid(caller.namespace, caller.service_account), lab.authority.root_pem)
        found = Measured(len(taken.bodies), first)

        def ask() -> int | None:
            call = Call("GET", "/metrics", mesh.mint.token(f"{MODEL}.observe"))
            return send(call, sidecar.address, PORT, context).status

        for number in range(CHANGES):
            wanted, status = (given, 200) if number % 2 == 0 else (taken, 403)
            _change(server, wanted, ask, status, found)
            say(f"mesh {number + 1}/{CHANGES}: enforced after {found.enforced[-1]:.0f} ms")
        return found


_REQUEST = ApplyRequest("bench", frozenset({"widening"}))


class Watched(Connection):
    """The cluster, and when the last rule was written to it."""

    wrote = 0.0

    def apply(self, path: str, body: Object, query: Query) -> Object:
        if "authorizationpolicies" in path and "dryRun" not in query:
            self.wrote = time.monotonic()
        return super().apply(path, body, query)


def _watched(kubeconfig: Path) -> Watched:
    plain = connect(kubeconfig)
    return Watched(plain.name, plain._client)


def _change(server: Watched, to: Wanted, ask: Callable[[], int | None], wanted: int, found: Measured) -> None:
    """Begin an apply, and ask until the answer is `wanted`."""
    began = time.monotonic()
    changing = threading.Thread(target=apply, args=(server, to, _REQUEST, lambda _: None))
    changing.start()
    while (status := ask()) != wanted:
        found.odd += status not in (200, 403)
        if time.monotonic() - began > _GIVE_UP:
            raise BenchError(f"{wanted} was not answered within {_GIVE_UP:.0f} s of an apply")
    enforced = time.monotonic()
    changing.join()
    found.enforced.append((enforced - began) * 1000)
    found.written.append((enforced - server.wrote) * 1000)
    found.applied.append((time.monotonic() - began) * 1000)


def _policy(directory: Path, *, given: bool) -> dict[str, Any]:
    whole = policy(MODELS, GRANTS, ROLES, directory / "jwks.json", False)
    return {**whole, "grants": [*whole["grants"], *([GIVEN] if given else [])]}


def _wanted(directory: Path, *, given: bool) -> Wanted:
    file = directory / "policy.yaml"
    file.write_text(json.dumps(_policy(directory, given=given)))
    options = ClusterOptions(target="istio", keys=directory / "keys.json")
    return read_wanted(file, None, directory, options, ())[0]


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(json.dumps(asdict(_inside(Path(sys.argv[1])))))
