"""What a sidecar asks of a connection: the narrowest PeerAuthentication, the oldest of its scope."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from meshward.align.istio.objects import MeshObject, Ref, mapping, selector, text

PERMISSIVE = "PERMISSIVE"
_WEAKEST = {"DISABLE": 0, "PERMISSIVE": 1, "STRICT": 2}


@dataclass(frozen=True, slots=True)
class Mode:
    """STRICT, PERMISSIVE or DISABLE, and which object says so; None where nobody does."""

    mode: str
    through: Ref | None


@dataclass(frozen=True, slots=True)
class Peers:
    """The mode of every port, but for exceptions."""

    mode: Mode
    ports: Mapping[int, Mode]

    def of(self, port: int) -> Mode:
        return self.ports.get(port, self.mode)


def compose(objects: Sequence[MeshObject], root: str) -> Peers:
    """Mesh, then namespace, then workload; UNSET is what the wider scope says. Nobody: PERMISSIVE."""
    mode = Mode(PERMISSIVE, None)
    for scope in ("mesh", "namespace", "workload"):
        found = _oldest([each for each in objects if _scope(each, root) == scope])
        if found is None:
            continue
        mode = _told(found, found.spec.get("mtls"), mode)
        if scope == "workload":
            exceptions = mapping(found.spec.get("portLevelMtls"))
            ports = {
                int(port): _told(found, each, mode)
                for port, each in exceptions.items()
                if str(port).isdigit()
            }
            return Peers(mode, ports)
    return Peers(mode, {})


def _scope(each: MeshObject, root: str) -> str:
    if selector(each):
        return "workload"
    return "mesh" if each.ref.namespace == root else "namespace"


def _told(each: MeshObject, mtls: object, wider: Mode) -> Mode:
    mode = text(mapping(mtls).get("mode"))
    return wider if mode in ("", "UNSET") else Mode(mode, each.ref)


def _oldest(found: Sequence[MeshObject]) -> MeshObject | None:
    """Of files nobody knows which is older: then the weaker one, so that no door is taken for shut."""
    if not found:
        return None
    first = found[0]
    if first.created:
        return first
    return min(
        (each for each in found if not each.created),
        key=lambda each: _WEAKEST.get(text(mapping(each.spec.get("mtls")).get("mode")), 2),
    )
