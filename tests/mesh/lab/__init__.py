"""A mesh on this machine: real etcd, kube-apiserver and istiod, and a real Envoy beside each workload."""

from tests.mesh.lab.client import Answer, Call
from tests.mesh.lab.running import Lab, running
from tests.mesh.lab.workload import Workload

__all__ = ["Answer", "Call", "Lab", "Workload", "running"]
