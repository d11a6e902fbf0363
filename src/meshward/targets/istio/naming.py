"""How objects are called and marked. A name follows from what the object is of, and from nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from meshward.kit.canonical import digest
from meshward.kit.names import dns_label
from meshward.targets.istio.resource import Resource

SECURITY = "security.istio.io/v1"
NETWORKING = "networking.istio.io/v1"
TELEMETRY = "telemetry.istio.io/v1"
GATEWAY_API = "gateway.networking.k8s.io/v1"
ENVOY_FILTERS = "networking.istio.io/v1alpha3"
CORE = "v1"

MANAGED_BY = "app.kubernetes.io/managed-by"
MANAGER = "meshward"
DIGEST = "meshward/digest"
"""The annotation that has the digest of an object as it was rendered: without it, edits would need a comparison."""
MODEL, VERSION = "meshward/model", "meshward/version"
"""The annotations that have the policy's names, whole: an object's own name may have to fold them."""

_LONGEST_LABEL = 63


def model_name(model: str) -> str:
    """Of what concerns all versions of `model`; a DNS label."""
    label = f"mw-{dns_label(model)}"
    return (
        label
        if len(label) <= _LONGEST_LABEL
        else f"{label[:56].rstrip('-')}-{sha256(model.encode()).hexdigest()[:6]}"
    )


def version_name(model: str, version: str) -> str:
    """Of what concerns one version. A dot between two labels: `a-b` and `c` are not `a` and `b-c`."""
    return f"mw-{dns_label(model)}.{dns_label(version)}"


def resource(
    api_version: str,
    kind: str,
    namespace: str | None,
    name: str,
    file: str,
    comment: str,
    spec: Mapping[str, Any],
    *,
    annotations: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
    key: str = "spec",
) -> Resource:
    """The object, marked as ours. `key`: where `spec` stands."""
    said = {key: dict(spec)}
    marks = {**(annotations or {}), DIGEST: f"sha256:{digest([api_version, kind, said, labels or {}])}"}
    metadata: dict[str, Any] = {"name": name}
    if namespace is not None:
        metadata["namespace"] = namespace
    metadata["labels"] = {MANAGED_BY: MANAGER, **(labels or {})}
    metadata["annotations"] = marks
    body = {"apiVersion": api_version, "kind": kind, "metadata": metadata, **said}
    return Resource(kind, namespace, name, body, comment, file)
