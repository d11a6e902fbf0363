"""Whether each pod has a sidecar, all traffic goes through it, and it asks everybody for a certificate."""

from __future__ import annotations

from collections.abc import Iterator

from meshward.align.finding import Finding
from meshward.align.injection import has_sidecar, proxy_settings
from meshward.align.pods import Pod
from meshward.align.world import Spot, World
from meshward.kit import codes

_EXCLUDED = "traffic.sidecar.istio.io/excludeInboundPorts"
_INCLUDED = "traffic.sidecar.istio.io/includeInboundPorts"
_INTERCEPTION = "sidecar.istio.io/interceptionMode"
_INTERFACES = ("traffic.sidecar.istio.io/excludeInterfaces", "istio.io/exclude-interfaces")
_OTHER_PROXY = {
    "sidecar.istio.io/bootstrapOverride": "with its own bootstrap",
    "sidecar.istio.io/proxyImage": "of another image",
}


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
    if not has_sidecar(world.mesh, pod):
        what = "whoever reaches the pod reaches the model: it has no sidecar"
        yield Finding(codes.ALIGN_NO_SIDECAR, what, pod.ref, spot.names)
        return
    if pod.spec.get("hostNetwork") is True:
        what = "whoever reaches the node reaches the model: the pod is in the node's network, unguarded"
        yield Finding(codes.ALIGN_NO_SIDECAR, what, pod.ref, spot.names)
    around = _around(world, pod)
    if around:
        what = f"whoever connects to {around} reaches the pod without its sidecar"
        yield Finding(codes.ALIGN_WAY_AROUND, what, pod.ref, spot.names)
    for how in _other(pod):
        what = f"its sidecar is {how}; what that lets in is not known"
        yield Finding(codes.ALIGN_CHAIN, what, pod.ref, spot.names)


def _around(world: World, pod: Pod) -> str:
    """Ports that do not go through the sidecar; empty where all do."""
    excluded = pod.annotations.get(_EXCLUDED, "").replace(" ", "")
    if excluded:
        return f"port {excluded}"
    included = pod.annotations.get(_INCLUDED)
    if included not in (None, "*"):
        return f"any port but {included}" if included else "any port"
    interfaces = next((found for name in _INTERFACES if (found := pod.annotations.get(name))), "")
    if interfaces:
        return f"interface {interfaces}"
    told = proxy_settings(pod).get("interceptionMode") or world.mesh.config.interception
    return "any port" if pod.annotations.get(_INTERCEPTION, told) == "NONE" else ""


def _other(pod: Pod) -> Iterator[str]:
    """How the sidecar is not the one that this mesh's control plane starts and tells what to let in."""
    for name, how in _OTHER_PROXY.items():
        if pod.annotations.get(name):
            yield how
    if proxy_settings(pod).get("discoveryAddress"):
        yield "told what to do by another control plane"
