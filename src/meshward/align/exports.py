"""What the edge sees of the mesh's objects: by `exportTo`, and by the names that they are for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from meshward.align.expected import Guarded
from meshward.align.finding import Finding
from meshward.align.istio.objects import MeshObject, text_list
from meshward.align.world import World
from meshward.kit import codes
from meshward.kit.text import quoted

_ANNOTATION = "networking.istio.io/exportTo"


def told(world: World, each: MeshObject) -> Sequence[str]:
    """Namespaces that see it, as it says or else the mesh."""
    said: Sequence[str] = text_list(each.spec.get("exportTo"))
    if each.ref.kind == "Service":
        said = [name for name in each.annotations.get(_ANNOTATION, "").replace(" ", "").split(",") if name]
    return said or world.mesh.config.exported.get(each.ref.kind) or ["*"]


def hidden(world: World, each: MeshObject) -> bool:
    """Whether the edge does not see it."""
    edge, said = world.placed.edge.workload.namespace, told(world, each)
    return not ("*" in said or edge in said or ("." in said and each.ref.namespace == edge))


def exported(world: World, each: MeshObject, guarded: Guarded) -> Iterator[Finding]:
    """What the edge needs and does not see."""
    if hidden(world, each):
        edge, said = world.placed.edge.workload.namespace, told(world, each)
        what = f"the edge in {quoted(edge)} does not see it: it is exported to {', '.join(map(quoted, said))}"
        yield Finding(codes.ALIGN_EXPORT, what, each.ref, (guarded.name,))


def covers(pattern: str, host: str) -> bool:
    """Whether a name, or one that begins with `*`, is for `host`."""
    return pattern == host or (pattern.startswith("*") and host.endswith(pattern[1:]))


def concerned(world: World, pattern: str) -> list[str]:
    """Hosts of guarded models that a name is for."""
    if "*" not in pattern:
        return [pattern] if pattern in world.by_host else []
    return sorted(host for host in world.by_host if covers(pattern, host))


def full(host: str, namespace: str, domain: str) -> str:
    """A short name is of the object's own namespace."""
    return host if "." in host or not host or host == "*" else f"{host}.{namespace}.svc.{domain}"
