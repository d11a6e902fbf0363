"""Who could change it: rights to write what decides, and to start pods as the edge, where nothing keeps them from it.

Subjects of the cluster itself (`system:` and its own namespaces) are left out: who is one of them owns the cluster.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from meshward.align.finding import Finding
from meshward.align.istio.objects import MeshObject, items, mapping, text, text_list
from meshward.align.world import World
from meshward.kit import codes
from meshward.kit.text import quoted

_DECIDING = {
    "security.istio.io": {"authorizationpolicies", "requestauthentications", "peerauthentications"},
    "networking.istio.io": {
        "envoyfilters",
        "sidecars",
        "serviceentries",
        "virtualservices",
        "destinationrules",
    },
    "extensions.istio.io": {"wasmplugins"},
}
_STARTING = {
    "": {"pods", "serviceaccounts/token"},
    "apps": {"deployments", "statefulsets", "daemonsets", "replicasets"},
    "batch": {"jobs", "cronjobs"},
}
_WRITE = {"create", "update", "patch", "delete", "deletecollection", "*"}
_OWN_NAMESPACES = {"kube-system", "kube-public", "kube-node-lease"}
_EVERYBODY = {"system:authenticated", "system:unauthenticated", "system:serviceaccounts"}


def find(world: World) -> Iterator[Finding]:
    roles = {
        (each.ref.kind, each.ref.namespace, each.ref.name): each for each in _of(world, "Role", "ClusterRole")
    }
    owned = _owned(world)
    edge = world.placed.edge.workload.namespace
    for binding in _of(world, "RoleBinding", "ClusterRoleBinding"):
        role = mapping(binding.body.get("roleRef"))
        namespace = binding.ref.namespace if role.get("kind") == "Role" else ""
        found = roles.get((text(role.get("kind")), namespace, text(role.get("name"))))
        subjects = _subjects(world, binding)
        if found is None or not subjects:
            continue
        places = sorted(each for each in world.scope - owned if _reaches(binding, each))
        if places and _may(found, _DECIDING):
            what = f"{subjects} may write what decides in {', '.join(map(quoted, places))}"
            yield Finding(codes.ALIGN_WRITERS, what, binding.ref)
        if _reaches(binding, edge) and _may(found, _STARTING):
            what = f"{subjects} may start pods in {quoted(edge)}, and so speak as the edge"
            yield Finding(codes.ALIGN_EDGE_ACCOUNT, what, binding.ref)


def _reaches(binding: MeshObject, namespace: str) -> bool:
    return binding.ref.kind == "ClusterRoleBinding" or binding.ref.namespace == namespace


def _of(world: World, *kinds: str) -> list[MeshObject]:
    return [each for kind in kinds for each in world.mesh.all(kind)]


def _may(role: MeshObject, resources: Mapping[str, set[str]]) -> bool:
    """Whether it may write one of `resources`, by API group."""
    for rule in map(mapping, items(role.body.get("rules"))):
        groups, named = set(text_list(rule.get("apiGroups"))), set(text_list(rule.get("resources")))
        if not _WRITE & set(text_list(rule.get("verbs"))):
            continue
        if any(({group, "*"} & groups) and ((wanted | {"*"}) & named) for group, wanted in resources.items()):
            return True
    return False


def _subjects(world: World, binding: MeshObject) -> str:
    told = [_subject(world, mapping(each)) for each in items(binding.body.get("subjects"))]
    return ", ".join(sorted(each for each in told if each))


def _subject(world: World, subject: Mapping[str, Any]) -> str:
    kind, name, namespace = (text(subject.get(key)) for key in ("kind", "name", "namespace"))
    if kind == "ServiceAccount":
        own = namespace in _OWN_NAMESPACES | {world.mesh.config.root_namespace} or name == "meshward"
        return "" if own else f"ServiceAccount {namespace}/{name}"
    if (
        name.startswith("system:")
        and name not in _EVERYBODY
        and not name.startswith("system:serviceaccounts:")
    ):
        return ""
    return f"{kind} {name}"


def _owned(world: World) -> frozenset[str]:
    """Namespaces in which an admission policy that is bound, and denies, lets one user alone write."""
    bound = {
        text(each.spec.get("policyName"))
        for each in world.mesh.all("ValidatingAdmissionPolicyBinding")
        if "Deny" in text_list(each.spec.get("validationActions"))
    }
    found: set[str] = set()
    for each in world.mesh.all("ValidatingAdmissionPolicy"):
        if each.ref.name in bound and _guards(each):
            chosen = mapping(mapping(each.spec.get("matchConstraints")).get("namespaceSelector"))
            for one in map(mapping, items(chosen.get("matchExpressions"))):
                if one.get("operator") == "In" and one.get("key") == "kubernetes.io/metadata.name":
                    found |= set(text_list(one.get("values")))
    return frozenset(found)


def _guards(policy: MeshObject) -> bool:
    """Whether it is about what decides, and asks who writes."""
    rules = map(mapping, items(mapping(policy.spec.get("matchConstraints")).get("resourceRules")))
    groups = {group for rule in rules for group in text_list(rule.get("apiGroups"))}
    asked = any(
        "request.userInfo" in text(mapping(each).get("expression"))
        for each in items(policy.spec.get("validations"))
    )
    return (
        asked
        and policy.spec.get("failurePolicy", "Fail") == "Fail"
        and bool({"*", "security.istio.io"} & groups)
    )
