"""What routes do to the edge's requests: no VirtualService, DestinationRule or HTTPRoute may lead them elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from meshward.align.expected import TOKEN_HEADER, Guarded
from meshward.align.exports import concerned, covers, exported, full, hidden
from meshward.align.finding import Finding
from meshward.align.istio.objects import MeshObject, items, mapping, text, text_list
from meshward.align.world import World
from meshward.kit import codes
from meshward.kit.text import quoted

_ROUTES = ("GRPCRoute", "HTTPRoute", "TCPRoute", "TLSRoute")
_INSTEAD = {
    "redirect": "sends the caller elsewhere",
    "directResponse": "answers in the model's place",
    "RequestRedirect": "sends the caller elsewhere",
}


def find(world: World) -> Iterator[Finding]:
    yield from _virtual_services(world)
    yield from _destination_rules(world)
    yield from _gateway_routes(world)


def _virtual_services(world: World) -> Iterator[Finding]:
    domain = world.placed.mesh.cluster_domain
    found = world.mesh.all("VirtualService")
    by_name = {(each.ref.namespace, each.ref.name): each for each in found}
    for each in found:
        if not _is_for_sidecars(each):
            continue
        names = [full(host, each.ref.namespace, domain) for host in text_list(each.spec.get("hosts"))]
        for host in sorted({host for name in names for host in concerned(world, name)}):
            guarded = world.by_host[host]
            for one in guarded:
                if each.ref.namespace == one.place.namespace and host in names:
                    yield from exported(world, each, one)
            if not hidden(world, each):
                for part in (each, *_delegates(each, by_name)):
                    yield from _led(world, part, guarded, _destinations(part, domain))
                    yield from _changed(part, guarded)


def _is_for_sidecars(each: MeshObject) -> bool:
    gateways = text_list(each.spec.get("gateways"))
    return not gateways or "mesh" in gateways


def _delegates(each: MeshObject, by_name: Mapping[tuple[str, str], MeshObject]) -> Iterator[MeshObject]:
    for http in map(mapping, items(each.spec.get("http"))):
        asked = mapping(http.get("delegate"))
        place = text(asked.get("namespace")) or each.ref.namespace
        delegate = by_name.get((place, text(asked.get("name"))))
        if asked and delegate is not None:
            yield delegate


def _led(
    world: World, each: MeshObject, guarded: tuple[Guarded, ...], targets: Iterable[str]
) -> Iterator[Finding]:
    """Where requests go that is not the same model."""
    own = {one.model for one in guarded}
    for target in sorted(set(targets)):
        if not own & {one.model for one in world.by_host.get(target, ())}:
            what = f"requests for the model go to {quoted(target)}, with the tokens for it"
            yield Finding(codes.ALIGN_WAY_AROUND, what, each.ref, tuple(one.name for one in guarded))


def _changed(each: MeshObject, guarded: tuple[Guarded, ...]) -> Iterator[Finding]:
    models = tuple(one.name for one in guarded)
    for http in map(mapping, items(each.spec.get("http"))):
        for name in sorted(_INSTEAD.keys() & http.keys()):
            yield Finding(codes.ALIGN_CLOSED, f"it {_INSTEAD[name]}", each.ref, models)
        rewrite = mapping(http.get("rewrite"))
        if rewrite.get("uri") or rewrite.get("uriRegexRewrite"):
            yield Finding(codes.ALIGN_CLOSED, "it changes the path, which decides", each.ref, models)
        for place in (http, *map(mapping, items(http.get("route")))):
            change = mapping(mapping(place.get("headers")).get("request"))
            named = [
                *mapping(change.get("set")),
                *mapping(change.get("add")),
                *text_list(change.get("remove")),
            ]
            if TOKEN_HEADER in {str(name).lower() for name in named}:
                what = f"it changes {TOKEN_HEADER}: the edge's token does not arrive as it is"
                yield Finding(codes.ALIGN_CLOSED, what, each.ref, models)


def _destinations(each: MeshObject, domain: str) -> Iterator[str]:
    for http in map(mapping, items(each.spec.get("http"))):
        for place in (*items(http.get("route")), *items(http.get("mirrors"))):
            yield full(
                text(mapping(mapping(place).get("destination")).get("host")), each.ref.namespace, domain
            )
        if mapping(http.get("mirror")):
            yield full(text(mapping(http.get("mirror")).get("host")), each.ref.namespace, domain)
    for kind in ("tcp", "tls"):
        for route in map(mapping, items(each.spec.get(kind))):
            for place in items(route.get("route")):
                host = text(mapping(mapping(place).get("destination")).get("host"))
                yield full(host, each.ref.namespace, domain)


def _destination_rules(world: World) -> Iterator[Finding]:
    """Of the edge's namespace, else the model's, else the root: in each the closest name, and all that have it."""
    domain = world.placed.mesh.cluster_domain
    edge, root = world.placed.edge.workload.namespace, world.mesh.config.root_namespace
    exact: dict[tuple[str, str], list[MeshObject]] = {}
    loose: dict[str, list[tuple[str, MeshObject]]] = {}
    for namespace in sorted({edge, root, *world.namespaces}):
        for each in world.mesh.of("DestinationRule", namespace):
            host = full(text(each.spec.get("host")), namespace, domain)
            for one in world.by_host.get(host, ()):
                if namespace == one.place.namespace:
                    yield from exported(world, each, one)
            if namespace != edge and hidden(world, each):
                continue
            if "*" in host:
                loose.setdefault(namespace, []).append((host, each))
            else:
                exact.setdefault((namespace, host), []).append(each)
    for guarded in world.expected.guarded:
        met: list[MeshObject] = []
        for namespace in (edge, guarded.place.namespace, root):
            met = met or exact.get((namespace, guarded.place.host), [])
            near = [pair for pair in loose.get(namespace, []) if covers(pair[0], guarded.place.host)]
            closest = max((len(name) for name, _ in near), default=0)
            met = met or [each for name, each in near if len(name) == closest]
        yield from _connected(world, met, guarded)


def _connected(world: World, met: list[MeshObject], guarded: Guarded) -> Iterator[Finding]:
    modes: set[str] = set()
    for each in met:
        subsets = [mapping(one) for one in items(each.spec.get("subsets"))]
        for policy in (mapping(one.get("trafficPolicy")) for one in (each.spec, *subsets)):
            mode = _mode(policy, guarded.place.port)
            modes.add(mode)
            if mode and mode != "ISTIO_MUTUAL":
                what = f"the edge connects by {quoted(mode)}, not by its mesh identity: it is refused"
                yield Finding(codes.ALIGN_CLOSED, what, each.ref, (guarded.name,))
            if through := text(mapping(policy.get("tunnel")).get("targetHost")):
                what = f"requests for the model go through a tunnel to {quoted(through)}"
                yield Finding(codes.ALIGN_WAY_AROUND, what, each.ref, (guarded.name,))
    if not world.mesh.config.mutual and not modes - {""}:
        what = "the edge connects in plain text, for the mesh has no mutual TLS by itself: it is refused"
        yield Finding(codes.ALIGN_CLOSED, what, world.config_ref, (guarded.name,))


def _mode(policy: Mapping[str, Any], port: int) -> str:
    """What a port says takes the place of all that its rule says."""
    for each in map(mapping, items(policy.get("portLevelSettings"))):
        if mapping(each.get("port")).get("number") == port:
            return text(mapping(each.get("tls")).get("mode"))
    return text(mapping(policy.get("tls")).get("mode"))


def _gateway_routes(world: World) -> Iterator[Finding]:
    """Of a Service: those of its own namespace, and of the edge's, which are for the edge alone."""
    domain, edge = world.placed.mesh.cluster_domain, world.placed.edge.workload.namespace
    for each in (each for kind in _ROUTES for each in world.mesh.all(kind)):
        for parent in map(mapping, items(each.spec.get("parentRefs"))):
            namespace = text(parent.get("namespace")) or each.ref.namespace
            host = f"{text(parent.get('name'))}.{namespace}.svc.{domain}"
            if parent.get("kind") != "Service" or each.ref.namespace not in (namespace, edge):
                continue
            met = tuple(
                one for one in world.by_host.get(host, ()) if parent.get("port") in (None, one.place.port)
            )
            if met:
                yield from _led(world, each, met, _backends(each, domain))
                yield from _filtered(each, met)


def _backends(each: MeshObject, domain: str) -> Iterator[str]:
    for rule in map(mapping, items(each.spec.get("rules"))):
        found = [*items(rule.get("backendRefs"))]
        found += [mapping(one.get("requestMirror")).get("backendRef") for one in _filters(rule)]
        for backend in map(mapping, found):
            name, namespace = text(backend.get("name")), text(backend.get("namespace")) or each.ref.namespace
            if name:
                yield name if backend.get("kind") == "Hostname" else f"{name}.{namespace}.svc.{domain}"


def _filters(rule: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    backends = [mapping(each) for each in items(rule.get("backendRefs"))]
    return [mapping(one) for part in (rule, *backends) for one in items(part.get("filters"))]


def _filtered(each: MeshObject, guarded: tuple[Guarded, ...]) -> Iterator[Finding]:
    models = tuple(one.name for one in guarded)
    for one in (one for rule in map(mapping, items(each.spec.get("rules"))) for one in _filters(rule)):
        change = mapping(one.get("requestHeaderModifier"))
        named = [text(mapping(part).get("name")) for key in ("set", "add") for part in items(change.get(key))]
        if TOKEN_HEADER in {name.lower() for name in (*named, *text_list(change.get("remove")))}:
            what = f"it changes {TOKEN_HEADER}: the edge's token does not arrive as it is"
            yield Finding(codes.ALIGN_CLOSED, what, each.ref, models)
        if mapping(one.get("urlRewrite")).get("path"):
            yield Finding(codes.ALIGN_CLOSED, "it changes the path, which decides", each.ref, models)
        if text(one.get("type")) in _INSTEAD:
            yield Finding(codes.ALIGN_CLOSED, f"it {_INSTEAD[text(one.get('type'))]}", each.ref, models)
