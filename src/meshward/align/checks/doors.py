"""Whether each pod has a sidecar, all traffic goes through it, and it asks everybody for a certificate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from meshward.align.finding import Finding
from meshward.align.istio.objects import REVISION
from meshward.align.pods import Pod
from meshward.align.world import Spot, World
from meshward.kit import codes

_PROXY = "istio-proxy"
_INJECT = "sidecar.istio.io/inject"
_EXCLUDED = "traffic.sidecar.istio.io/excludeInboundPorts"
_INCLUDED = "traffic.sidecar.istio.io/includeInboundPorts"
_INTERCEPTION = "sidecar.istio.io/interceptionMode"


def find(world: World) -> Iterator[Finding]:
    for spot in world.spots:
        yield from _plaintext(spot)
        for pod in spot.pods:
            if pod.spec:
                yield from _pod(world, spot, pod)


def _plaintext(spot: Spot) -> Iterator[Finding]:
    peers = spot.sidecar.peers
    if peers.mode.mode != "STRICT":
        what = f"anybody connects in plain text, without an identity ({peers.mode.mode})"
        yield Finding(codes.ALIGN_PLAINTEXT, what, peers.mode.through, spot.names)
    for port, mode in sorted(peers.ports.items()):
        if mode.mode != "STRICT":
            what = f"anybody connects to port {port} in plain text, without an identity ({mode.mode})"
            yield Finding(codes.ALIGN_PLAINTEXT, what, mode.through, spot.names)


def _pod(world: World, spot: Spot, pod: Pod) -> Iterator[Finding]:
    if not _has_sidecar(world, pod):
        what = "whoever reaches the pod reaches the model: it has no sidecar"
        yield Finding(codes.ALIGN_NO_SIDECAR, what, pod.ref, spot.names)
        return
    if pod.spec.get("hostNetwork") is True:
        what = "whoever reaches the node reaches the model: the pod is in the node's network, unguarded"
        yield Finding(codes.ALIGN_NO_SIDECAR, what, pod.ref, spot.names)
    around = _around(pod)
    if around:
        what = f"whoever connects to {around} reaches the pod without its sidecar"
        yield Finding(codes.ALIGN_WAY_AROUND, what, pod.ref, spot.names)


def _around(pod: Pod) -> str:
    """Ports that do not go through the sidecar; empty where all do."""
    excluded = pod.annotations.get(_EXCLUDED, "").replace(" ", "")
    if excluded:
        return f"port {excluded}"
    included = pod.annotations.get(_INCLUDED)
    if included not in (None, "*"):
        return f"any port but {included}" if included else "any port"
    return "any port" if pod.annotations.get(_INTERCEPTION) == "NONE" else ""


def _has_sidecar(world: World, pod: Pod) -> bool:
    """Of a running pod by its containers; of one to come by what says whether it is injected."""
    if pod.runs:
        return any(container.get("name") == _PROXY for container in pod.containers())
    if any(container.get("name") == _PROXY for container in pod.containers()):
        return True
    asked = pod.labels.get(_INJECT) or pod.annotations.get(_INJECT)
    if asked:
        return asked == "true"
    namespace = next(
        (each for each in world.mesh.all("Namespace") if each.ref.name == pod.ref.namespace), None
    )
    return namespace is None or _injected({**namespace.labels, **_revision(pod.labels)})


def _revision(labels: Mapping[str, str]) -> dict[str, str]:
    return {REVISION: labels[REVISION]} if REVISION in labels else {}


def _injected(labels: Mapping[str, str]) -> bool:
    asked = labels.get("istio-injection")
    return asked == "enabled" or (asked != "disabled" and bool(labels.get(REVISION)))
