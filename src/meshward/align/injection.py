"""Whether a pod gets a sidecar, as Istio's webhooks and then its injector decide, and what the pod asks of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml  # type: ignore[import-untyped]

from meshward.align.istio.objects import REVISION, Mesh, mapping, text
from meshward.align.pods import Pod

_PROXY = "istio-proxy"
_INJECT, _TEMPLATES = "sidecar.istio.io/inject", "inject.istio.io/templates"
_STATUS = "sidecar.istio.io/status"  # what an injector leaves behind


def has_sidecar(mesh: Mesh, pod: Pod) -> bool:
    """Of a running pod by its containers; of one to come by what says whether it is injected."""
    if pod.runs or _STATUS in pod.annotations:
        return any(_is_proxy(container) for container in pod.containers())
    if pod.spec.get("hostNetwork") is True:
        return False
    return _is_asked(mesh, pod) and _by_template(pod)


def proxy_settings(pod: Pod) -> Mapping[str, Any]:
    """What its annotation says of the sidecar; empty where it is not readable, which istiod refuses."""
    try:
        return mapping(yaml.safe_load(pod.annotations.get("proxy.istio.io/config", "")))
    except (yaml.YAMLError, ValueError, RecursionError):
        return {}


def _is_proxy(container: Mapping[str, Any]) -> bool:
    """By its name; one that runs a program of its own is none."""
    return container.get("name") == _PROXY and not container.get("command")


def _by_template(pod: Pod) -> bool:
    told = pod.annotations.get(_TEMPLATES, "sidecar")
    return "sidecar" in [each.strip() for each in told.split(",")]


def _is_asked(mesh: Mesh, pod: Pod) -> bool:
    """A pod's label wins over its annotation; neither brings a webhook to a namespace that refuses it."""
    asked = pod.labels.get(_INJECT, pod.annotations.get(_INJECT, ""))
    if asked == "false" or pod.labels.get(_INJECT) == "false":
        return False
    found = next((each for each in mesh.all("Namespace") if each.ref.name == pod.ref.namespace), None)
    if found is None:
        return True
    of_namespace = text(found.labels.get("istio-injection"))
    if of_namespace:
        return of_namespace == "enabled"
    return bool(found.labels.get(REVISION) or pod.labels.get(REVISION)) or pod.labels.get(_INJECT) == "true"
