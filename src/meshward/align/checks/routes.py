"""How the edge's requests find a model: no service, route or export may lead elsewhere or hide it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from meshward.align.expected import Guarded
from meshward.align.finding import Finding
from meshward.align.istio.objects import MeshObject, items, mapping, selector, text, text_list
from meshward.align.world import World, protocol
from meshward.kit import codes
from meshward.kit.text import quoted

_EXPORT = "networking.istio.io/exportTo"


def find(world: World) -> Iterator[Finding]:
    yield from _services(world)
    yield from _entries(world)
    yield from _virtual_services(world)
    yield from _destination_rules(world)
    for guarded in world.expected.guarded:
        if protocol(world.mesh, guarded) == "tcp":
            what = (
                f"port {guarded.place.port} is not HTTP to the mesh: no rule of a path or token holds there"
            )
            yield Finding(codes.ALIGN_WAY_AROUND, what, _service(world, guarded), (guarded.name,))


def _service(world: World, guarded: Guarded) -> Any:
    found = [
        each
        for each in world.mesh.of("Service", guarded.place.namespace)
        if each.ref.name == guarded.place.name
    ]
    return found[0].ref if found else None


def _services(world: World) -> Iterator[Finding]:
    for service in world.mesh.all("Service"):
        host = f"{service.ref.name}.{service.ref.namespace}.svc.{world.placed.mesh.cluster_domain}"
        for guarded in world.by_host.get(host, ()):
            yield from _own(world, service, guarded)


def _own(world: World, service: MeshObject, guarded: Guarded) -> Iterator[Finding]:
    chosen = selector(service)
    if chosen and not chosen.items() <= guarded.labels.items():
        what = "the edge's requests go to pods that are not the model's, with the tokens for it"
        yield Finding(codes.ALIGN_WAY_AROUND, what, service.ref, (guarded.name,))
    for port in map(mapping, items(service.spec.get("ports"))):
        target = port.get("targetPort", port.get("port"))
        if (
            port.get("port") == guarded.place.port
            and isinstance(target, int)
            and target != guarded.place.target_port
        ):
            what = f"it leads to port {target} of the pods, which is not the model's ({guarded.place.target_port})"
            yield Finding(codes.ALIGN_WAY_AROUND, what, service.ref, (guarded.name,))
    told = service.annotations.get(_EXPORT)
    if told is not None:
        yield from _exported(world, service, told.replace(" ", "").split(","), guarded)
    if service.spec.get("type") == "ExternalName":
        yield Finding(
            codes.ALIGN_WAY_AROUND, "the edge's requests leave the mesh", service.ref, (guarded.name,)
        )


def _entries(world: World) -> Iterator[Finding]:
    for entry in world.mesh.all("ServiceEntry"):
        for host in text_list(entry.spec.get("hosts")):
            for guarded in world.by_host.get(host, ()):
                if entry.ref.namespace != guarded.place.namespace:
                    what = f"it takes the name {quoted(host)}: the edge's requests may go to its endpoints"
                    yield Finding(codes.ALIGN_WAY_AROUND, what, entry.ref, (guarded.name,))
                else:
                    yield from _exported(world, entry, _told(entry), guarded)


def _virtual_services(world: World) -> Iterator[Finding]:
    domain = world.placed.mesh.cluster_domain
    for each in world.mesh.all("VirtualService"):
        named = {_full(host, each, domain) for host in text_list(each.spec.get("hosts"))}
        for host in sorted(named & world.by_host.keys()):
            guarded = world.by_host[host]
            models = tuple(found.name for found in guarded)
            for target in sorted(
                {_full(found, each, domain) for found in _destinations(each)} - world.by_host.keys()
            ):
                what = f"requests for the model go to {quoted(target)}, with the tokens for it"
                yield Finding(codes.ALIGN_WAY_AROUND, what, each.ref, models)
            for one in guarded:
                if each.ref.namespace == one.place.namespace:
                    yield from _exported(world, each, _told(each), one)


def _destination_rules(world: World) -> Iterator[Finding]:
    for each in world.mesh.all("DestinationRule"):
        host = _full(text(each.spec.get("host")), each, world.placed.mesh.cluster_domain)
        for guarded in world.by_host.get(host, ()):
            mode = text(mapping(mapping(each.spec.get("trafficPolicy")).get("tls")).get("mode"))
            if mode and mode != "ISTIO_MUTUAL":
                what = f"the edge connects by {quoted(mode)}, not by its mesh identity: it is refused"
                yield Finding(codes.ALIGN_CLOSED, what, each.ref, (guarded.name,))
            if each.ref.namespace == guarded.place.namespace:
                yield from _exported(world, each, _told(each), guarded)


def _told(each: MeshObject) -> list[str]:
    return text_list(each.spec.get("exportTo")) or ["*"]


def _exported(world: World, each: MeshObject, told: Sequence[str], guarded: Guarded) -> Iterator[Finding]:
    edge = world.placed.edge.workload.namespace
    seen = "*" in told or edge in told or ("." in told and each.ref.namespace == edge)
    if not seen:
        what = f"the edge in {quoted(edge)} does not see it: it is exported to {', '.join(map(quoted, told))}"
        yield Finding(codes.ALIGN_EXPORT, what, each.ref, (guarded.name,))


def _destinations(each: MeshObject) -> Iterator[str]:
    for http in map(mapping, items(each.spec.get("http"))):
        places = [*items(http.get("route")), *items(http.get("mirrors"))]
        yield from (text(mapping(mapping(place).get("destination")).get("host")) for place in places)
        if mapping(http.get("mirror")):
            yield text(mapping(http.get("mirror")).get("host"))
    for kind in ("tcp", "tls"):
        for route in map(mapping, items(each.spec.get(kind))):
            for place in items(route.get("route")):
                yield text(mapping(mapping(place).get("destination")).get("host"))


def _full(host: str, each: MeshObject, domain: str) -> str:
    """A short name is of the object's own namespace."""
    return host if "." in host or not host else f"{host}.{each.ref.namespace}.svc.{domain}"
