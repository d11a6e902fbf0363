"""What touches the filters that decide, or how a path is spelled before they see it; and what Envoy does not take."""

from __future__ import annotations

from collections.abc import Iterator

from meshward.align.finding import Finding
from meshward.align.istio.objects import Ref
from meshward.align.world import Spot, World
from meshward.kit import codes
from meshward.kit.text import quoted

_NEEDED = ("DEFAULT", "BASE")


def find(world: World) -> Iterator[Finding]:
    yield from _normalization(world)
    for spot in world.spots:
        yield from _faults(spot)
        for name, ref in spot.sidecar.patched.removed.items():
            yield Finding(codes.ALIGN_CHAIN, f"it takes {name} out of the sidecar", ref, spot.names)
        for ref, what in spot.sidecar.patched.unknown:
            yield Finding(
                codes.ALIGN_CHAIN,
                f"it changes the sidecar: {what}; what that means is not known",
                ref,
                spot.names,
            )
        for ref in spot.sidecar.touched:
            what = "it runs code in the sidecar; what that means is not known"
            yield Finding(codes.ALIGN_CHAIN, what, ref, spot.names)
        how = spot.sidecar.patched
        if how.slashes and how.normalization.slashes not in ("keep", "reject"):
            what = f"escaped slashes are taken for slashes ({how.normalization.slashes})"
            yield Finding(codes.ALIGN_PATHS, what, how.slashes, spot.names)
        if how.merged:
            what = "`//` is taken for `/`: more spellings than one reach a route"
            yield Finding(codes.ALIGN_PATHS, what, how.merged, spot.names)


def _normalization(world: World) -> Iterator[Finding]:
    found = world.mesh.config.normalization
    if found not in _NEEDED and world.spots:
        what = (
            "paths are compared as they were sent"
            if found == "NONE"
            else "more spellings than one reach a route"
        )
        ref = world.config_ref or Ref("MeshConfig", "", "istio")
        yield Finding(codes.ALIGN_PATHS, f"{what}: the mesh's normalisation is {quoted(found)}", ref)


def _faults(spot: Spot) -> Iterator[Finding]:
    for fault in spot.sidecar.faults:
        end = (
            "Envoy ends on it"
            if fault.ends
            else "Envoy refuses it, and every later change to this sidecar with it"
        )
        yield Finding(codes.ALIGN_NOT_TAKEN, f"{fault.why}: {end}", fault.ref, spot.names)
