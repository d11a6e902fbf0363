"""Who could change it: rights to write what decides, and to start pods as the edge, where nothing keeps them from it.

Subjects of the cluster itself (`system:` and its own namespaces) are left out: who is one of them owns the cluster.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
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
    "extensions.istio.io": {"wasmplugins", "trafficextensions"},
    "gateway.networking.k8s.io": {"httproutes", "grpcroutes"},
}
_STARTING = {
    "": {"pods", "pods/ephemeralcontainers", "replicationcontrollers", "serviceaccounts/token"},
    "apps": {"deployments", "statefulsets", "daemonsets", "replicasets"},
    "batch": {"jobs", "cronjobs"},
}
_ENTERING = {"": {"pods/exec", "pods/attach"}}
_SPEAKING = {"": {"users", "groups", "serviceaccounts"}}
_BUILT_IN: Mapping[str, list[dict[str, list[str]]]] = {
    "cluster-admin": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}],
    **{key: [{"apiGroups": [""], "resources": ["pods"], "verbs": ["create"]}] for key in ("admin", "edit")},
}  # as far as they matter here: every cluster has them, and no repository
_EVERY = {"CREATE", "UPDATE", "DELETE"}
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
        rules = _rules(roles, (text(role.get("kind")), namespace, text(role.get("name"))))
        subjects = _subjects(world, binding)
        if not rules or not subjects:
            continue
        places = sorted(each for each in world.scope - owned if _reaches(binding, each))
        if places and _may(rules, _DECIDING):
            what = f"{subjects} may write what decides in {', '.join(map(quoted, places))}"
            yield Finding(codes.ALIGN_WRITERS, what, binding.ref)
        elif _reaches(binding, edge) and _may(rules, _SPEAKING, {"impersonate", "*"}):
            what = f"{subjects} may speak as whoever may write what decides"
            yield Finding(codes.ALIGN_WRITERS, what, binding.ref)
        if _reaches(binding, edge) and (
            _may(rules, _STARTING) or _may(rules, _ENTERING, {"get", "create", "*"})
        ):
            what = f"{subjects} may start or enter pods in {quoted(edge)}, and so speak as the edge"
            yield Finding(codes.ALIGN_EDGE_ACCOUNT, what, binding.ref)


def _rules(
    roles: Mapping[tuple[str, str, str], MeshObject], name: tuple[str, str, str]
) -> list[Mapping[str, Any]]:
    """What a role permits: of one that is put together, what the others do."""
    found = roles.get(name)
    if found is None:
        return [*_BUILT_IN.get(name[2], [])] if name[0] == "ClusterRole" else []
    rules = items(found.body.get("rules"))
    chosen = items(mapping(found.body.get("aggregationRule")).get("clusterRoleSelectors"))
    for wanted in (mapping(mapping(each).get("matchLabels")) for each in chosen):
        parts = (each for each in roles.values() if wanted and wanted.items() <= each.labels.items())
        rules = [*rules, *(rule for part in parts for rule in items(part.body.get("rules")))]
    return [mapping(each) for each in rules]


def _reaches(binding: MeshObject, namespace: str) -> bool:
    return binding.ref.kind == "ClusterRoleBinding" or binding.ref.namespace == namespace


def _of(world: World, *kinds: str) -> list[MeshObject]:
    return [each for kind in kinds for each in world.mesh.all(kind)]


def _may(
    rules: list[Mapping[str, Any]],
    resources: Mapping[str, set[str]],
    verbs: Iterable[str] = frozenset(_WRITE),
) -> bool:
    """Whether they permit one of `verbs` on one of `resources`, by API group."""
    for rule in rules:
        groups, named = set(text_list(rule.get("apiGroups"))), set(text_list(rule.get("resources")))
        if not set(verbs) & set(text_list(rule.get("verbs"))):
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
        and not each.spec.get("matchResources")
        and not each.spec.get("paramRef")
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
    """Whether it is about all that decides, whatever is done to it, and asks for one writer."""
    chosen = mapping(policy.spec.get("matchConstraints"))
    asked = any(
        text(mapping(each).get("expression")).startswith("request.userInfo.username ==")
        for each in items(policy.spec.get("validations"))
    )
    loose = (
        policy.spec.get("matchConditions")
        or chosen.get("excludeResourceRules")
        or chosen.get("objectSelector")
    )
    whole = [rule for rule in map(mapping, items(chosen.get("resourceRules"))) if _is_whole(rule, chosen)]
    groups = {group for rule in whole for group in text_list(rule.get("apiGroups"))}
    return (
        asked
        and not loose
        and policy.spec.get("failurePolicy", "Fail") == "Fail"
        and bool({"*", "security.istio.io"} & groups)
    )


def _is_whole(rule: Mapping[str, Any], chosen: Mapping[str, Any]) -> bool:
    operations, versions = set(text_list(rule.get("operations"))), text_list(rule.get("apiVersions"))
    kept = "*" in versions or chosen.get("matchPolicy", "Equivalent") == "Equivalent"
    return (
        kept
        and bool("*" in operations or operations >= _EVERY)
        and bool({"*", "*/*"} & set(text_list(rule.get("resources"))))
        and not rule.get("resourceNames")
    )
