"""That nobody but our ServiceAccount writes what guards the models: asked of the API server itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from meshward.kit.canonical import canonical_json
from meshward.kit.names import dns_label
from meshward.plan.placement import PlacedPlan, Workload
from meshward.targets.istio.naming import resource
from meshward.targets.istio.resource import Resource

FILE = "owned.yaml"
API = "admissionregistration.k8s.io/v1"
_POLICY = (
    "In these namespaces only meshward's ServiceAccount writes or deletes what decides who reaches a model; the "
    "cluster's admin is refused too. The way out: delete the binding below, which needs rights on the whole cluster "
    "and leaves a line in its audit log."
)
_BINDING = "Puts the policy above into force. Delete this to get out; apply it to get back."
_MESSAGE = (
    "meshward guards this namespace: change the policy and run `meshward apply`, or delete the "
    "ValidatingAdmissionPolicyBinding {name} first"
)
_GUARDING: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("security.istio.io", ("*",)),
    ("networking.istio.io", ("*",)),
    ("extensions.istio.io", ("*",)),
    ("telemetry.istio.io", ("*",)),
    ("gateway.networking.k8s.io", ("*",)),
)
"""API groups and their resources: authentication and authorization, what patches a sidecar, what leads around it."""


def owned_resources(placed: PlacedPlan, owner: Workload, namespaces: Sequence[str]) -> Iterator[Resource]:
    """For `namespaces`, which `owner` alone may write to. One pair for each edge of a cluster."""
    name = f"mw-owned-{dns_label(placed.edge.workload.namespace)}"
    username = f"system:serviceaccount:{owner.namespace}:{owner.service_account}"
    rules = [
        {
            "apiGroups": [group],
            "apiVersions": ["*"],
            "operations": ["CREATE", "UPDATE", "DELETE"],
            "resources": list(resources),
        }
        for group, resources in _GUARDING
    ]
    chosen = {"key": "kubernetes.io/metadata.name", "operator": "In", "values": list(namespaces)}
    spec = {
        "failurePolicy": "Fail",
        "matchConstraints": {"namespaceSelector": {"matchExpressions": [chosen]}, "resourceRules": rules},
        "validations": [
            {
                "expression": f"request.userInfo.username == {canonical_json(username)}",
                "message": _MESSAGE.format(name=name),
                "reason": "Forbidden",
            }
        ],
    }
    yield resource(API, "ValidatingAdmissionPolicy", None, name, FILE, _POLICY, spec)
    binding = {"policyName": name, "validationActions": ["Deny"]}
    yield resource(API, "ValidatingAdmissionPolicyBinding", None, name, FILE, _BINDING, binding)
