"""The control plane's programs that `make test-mesh` runs: where they are, or why they are not here.

Each is built from a module of its own beside this file, because their Kubernetes libraries differ, into a cache whose
name holds a digest of that module's files: once per machine (`python -m tests.mesh.programs`).
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Program:
    """`name` as the file is called, built from `package` of the module in `module`. `variable` names another one."""

    name: str
    variable: str
    module: str
    package: str
    linked: str = ""  # -ldflags: what a release's own build says of its version

    @property
    def sources(self) -> Path:
        return HERE / self.module

    @property
    def built(self) -> Path:
        """Where the cache has it, once it is built."""
        return cache() / f"{self.module}-{digest(self.sources)}" / self.name


ETCD = Program("etcd", "MESHWARD_ETCD", "etcd", "go.etcd.io/etcd/server/v3")
KUBE_APISERVER = Program(
    "kube-apiserver",
    "MESHWARD_KUBE_APISERVER",
    "kube-apiserver",
    "k8s.io/kubernetes/cmd/kube-apiserver",
    "-X k8s.io/component-base/version.gitVersion=v1.36.3",
)
ISTIOD = Program("pilot-discovery", "MESHWARD_ISTIOD", "istio", "istio.io/istio/pilot/cmd/pilot-discovery")
ISTIOCTL = Program("istioctl", "MESHWARD_ISTIOCTL", "istio", "istio.io/istio/istioctl/cmd/istioctl")
PROGRAMS = (ETCD, ISTIOD, ISTIOCTL, KUBE_APISERVER)


def find(program: Program) -> Path | None:
    """The program that its variable names, else the one that was built here; None where there is neither."""
    if named := os.environ.get(program.variable):
        return Path(named) if os.access(named, os.X_OK) else None
    return program.built if os.access(program.built, os.X_OK) else None


def cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "meshward" / "mesh"


def digest(sources: Path) -> str:
    """Of what a program is made from: versions, and every byte of them by their sums."""
    files = [(sources / name).read_bytes() for name in ("go.mod", "go.sum")]
    return hashlib.sha256(b"\0".join(files)).hexdigest()[:16]
