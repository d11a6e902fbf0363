"""What a cluster's API server holds of what `align` judges. Secrets are never asked for."""

from __future__ import annotations

from pathlib import Path

from meshward.cluster.connection import Object, Server, connect, list_all
from meshward.cluster.discovery import Kind, served_kinds
from meshward.cluster.refusals import Refused, refused_error

MESH_GROUPS = (
    "security.istio.io",
    "networking.istio.io",
    "telemetry.istio.io",
    "extensions.istio.io",
    "gateway.networking.k8s.io",
)
_OTHERS = {
    "": ("configmaps", "namespaces", "pods", "serviceaccounts", "services"),
    "apps": ("daemonsets", "deployments", "statefulsets"),
    "rbac.authorization.k8s.io": ("clusterrolebindings", "clusterroles", "rolebindings", "roles"),
    "admissionregistration.k8s.io": (
        "mutatingwebhookconfigurations",
        "validatingadmissionpolicies",
        "validatingadmissionpolicybindings",
    ),
}
_WITH_PODS = ("daemonsets", "deployments", "pods", "statefulsets")
_MESH_CONFIG = "istio"


def read_objects(kubeconfig: Path | None, *, root_namespace: str = "istio-system") -> list[Object]:
    """Everything in the cluster that `align` needs, by kind, namespace and name. Kinds without a CRD are absent.

    Raises MeshwardError naming the server and the remedy; what is not all of it is never returned.
    """
    return read_from(connect(kubeconfig), root_namespace)


def read_from(server: Server, root_namespace: str = "istio-system") -> list[Object]:
    """As `read_objects`."""
    try:
        kinds = served_kinds(server, (*MESH_GROUPS, *_OTHERS))
    except Refused as refused:
        raise refused_error(refused.refusal, "the kinds that it serves", server.name) from None
    return [
        item
        for kind in kinds
        if kind.group in MESH_GROUPS or kind.plural in _OTHERS[kind.group]
        for item in _read(server, kind, root_namespace)
    ]


def _read(server: Server, kind: Kind, root_namespace: str) -> list[Object]:
    # The mesh's own settings are in ConfigMaps of its root namespace; those of others are nobody's business.
    place = root_namespace if kind.plural == "configmaps" else None
    try:
        found = list_all(server, kind.path(place))
    except Refused as refused:
        raise refused_error(refused.refusal, f"reading every {kind.name}", server.name) from None
    items = [_plain(item, kind) for item in found if kind.plural != "configmaps" or _of_mesh(item)]
    return sorted(items, key=lambda each: (each["metadata"].get("namespace", ""), each["metadata"]["name"]))


def _of_mesh(item: Object) -> bool:
    name: str = item["metadata"]["name"]
    return name == _MESH_CONFIG or name.startswith(f"{_MESH_CONFIG}-")


def _plain(item: Object, kind: Kind) -> Object:
    """With its kind, which lists leave out; without who wrote what, and without what a container is given to know."""
    metadata = {key: value for key, value in item["metadata"].items() if key != "managedFields"}
    plain = {**item, "apiVersion": kind.api_version, "kind": kind.name, "metadata": metadata}
    if kind.plural in _WITH_PODS:
        spec = item.get("spec") or {}
        template = spec.get("template")
        plain["spec"] = _pod(spec) if template is None else {**spec, "template": _template(template)}
    return plain


def _template(template: Object) -> Object:
    return {**template, "spec": _pod(template.get("spec") or {})}


def _pod(spec: Object) -> Object:
    """A pod's spec without environments, commands and arguments: they may hold secrets."""
    return {
        key: [_container(each) for each in value] if key.lower().endswith("containers") else value
        for key, value in spec.items()
    }


def _container(given: Object) -> Object:
    return {key: value for key, value in given.items() if key not in ("args", "command", "env", "envFrom")}
