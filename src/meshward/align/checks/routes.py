"""Where the edge's requests find a model: no service, endpoint or export may lead elsewhere or hide it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from meshward.align.expected import Guarded
from meshward.align.exports import covers, exported, hidden
from meshward.align.finding import Finding
from meshward.align.istio.attach import Workload, sidecar
from meshward.align.istio.objects import MeshObject, items, mapping, selector, text_list
from meshward.align.pods import Pod
from meshward.align.world import World, of_port, protocol
from meshward.kit import codes
from meshward.kit.text import quoted

_SLICE, _MANAGED = "kubernetes.io/service-name", "endpointslice.kubernetes.io/managed-by"
_CONTROLLERS = {"endpointslice-controller.k8s.io", "endpointslicemirroring-controller.k8s.io"}


def find(world: World) -> Iterator[Finding]:
    yield from _services(world)
    yield from _entries(world)
    yield from _slices(world)
    yield from _egress(world)
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
    pods: dict[str, list[Pod]] = {}
    for spot in world.spots:
        for guarded in spot.guarded:
            pods.setdefault(guarded.name, []).extend(spot.pods)
    labelled: dict[tuple[str, str, str], list[Guarded]] = {}
    for guarded in world.expected.guarded:
        for key, value in guarded.labels.items():
            labelled.setdefault((guarded.place.namespace, key, value), []).append(guarded)
    for service in world.mesh.all("Service"):
        host = f"{service.ref.name}.{service.ref.namespace}.svc.{world.placed.mesh.cluster_domain}"
        chosen = selector(service)
        for guarded in world.by_host.get(host, ()):
            yield from _own(world, service, guarded, pods.get(guarded.name, []))
        for key, value in list(chosen.items())[:1]:
            for guarded in labelled.get((service.ref.namespace, key, value), ()):
                if guarded.place.host != host and chosen.items() <= guarded.labels.items():
                    yield from _beside(service, guarded)


def _own(world: World, service: MeshObject, guarded: Guarded, pods: list[Pod]) -> Iterator[Finding]:
    yield from exported(world, service, guarded)
    if service.spec.get("type") == "ExternalName":
        what = "the edge's requests leave the mesh"
        yield Finding(codes.ALIGN_WAY_AROUND, what, service.ref, (guarded.name,))
        return
    chosen = selector(service)
    if not chosen:
        what = "it selects no pods: the edge's requests go to endpoints that somebody writes, with the tokens for it"
        yield Finding(codes.ALIGN_WAY_AROUND, what, service.ref, (guarded.name,))
    elif not chosen.items() <= guarded.labels.items():
        what = "the edge's requests go to pods that are not the model's, with the tokens for it"
        yield Finding(codes.ALIGN_WAY_AROUND, what, service.ref, (guarded.name,))
    elif any(pod.spec for pod in pods):
        yield from _joined(world, chosen, guarded)
    ports = [mapping(each) for each in items(service.spec.get("ports"))]
    own = [each for each in ports if each.get("port") == guarded.place.port]
    if not own:
        what = f"it has no port {guarded.place.port}: the edge cannot reach the model"
        yield Finding(codes.ALIGN_CLOSED, what, service.ref, (guarded.name,))
    wanted = guarded.place.target_port
    for target in {each for port in own for each in _targets(port, pods) if each != wanted}:
        what = f"it leads to port {target} of the pods, which is not the model's ({wanted})"
        yield Finding(codes.ALIGN_WAY_AROUND, what, service.ref, (guarded.name,))


def _targets(port: Any, pods: list[Pod]) -> Iterator[int]:
    """The ports of the pods that a Service's port leads to: a name is looked up in each."""
    target = port.get("targetPort") or port.get("port")
    if isinstance(target, int):
        yield target
        return
    for pod in pods:
        for container in pod.containers():
            for each in map(mapping, items(container.get("ports"))):
                number = each.get("containerPort")
                if each.get("name") == target and isinstance(number, int):
                    yield number


def _beside(service: MeshObject, guarded: Guarded) -> Iterator[Finding]:
    """Another Service of the pods: the older one says what a port of theirs speaks."""
    ports = items(service.spec.get("ports"))
    for port in map(mapping, ports):
        same = (port.get("targetPort") or port.get("port")) == guarded.place.target_port
        number = port.get("port")
        if same and isinstance(number, int) and of_port(ports, "port", number) == "tcp":
            what = f"port {guarded.place.target_port} of the pods is not HTTP to it: no rule of a path holds there"
            yield Finding(codes.ALIGN_WAY_AROUND, what, service.ref, (guarded.name,))


def _joined(world: World, chosen: dict[str, str], guarded: Guarded) -> Iterator[Finding]:
    """Endpoints that no pod is, beside those that are."""
    for each in world.mesh.of("WorkloadEntry", guarded.place.namespace):
        if chosen.items() <= mapping(each.spec.get("labels")).items():
            what = f"the edge's requests go to {quoted(str(each.spec.get('address', '')))} too, with the tokens for it"
            yield Finding(codes.ALIGN_WAY_AROUND, what, each.ref, (guarded.name,))


def _slices(world: World) -> Iterator[Finding]:
    for each in world.mesh.all("EndpointSlice"):
        host = f"{each.labels.get(_SLICE, '')}.{each.ref.namespace}.svc.{world.placed.mesh.cluster_domain}"
        for guarded in world.by_host.get(host, ()):
            if each.labels.get(_MANAGED) not in _CONTROLLERS:
                what = "the edge's requests go to endpoints that somebody wrote, with the tokens for it"
                yield Finding(codes.ALIGN_WAY_AROUND, what, each.ref, (guarded.name,))


def _egress(world: World) -> Iterator[Finding]:
    """The edge's own Sidecar: what it does not name, the edge does not see."""
    edge = world.placed.edge
    shaped = sidecar(world.mesh, Workload(edge.workload.namespace, dict(edge.select)))
    listed = items(shaped.spec.get("egress")) if shaped else []
    named = {host for each in listed for host in text_list(mapping(each).get("hosts"))}
    if shaped is None or not named:
        return
    loose = [each for each in named if "*" in each or each.startswith("./")]
    for guarded in world.expected.guarded:
        namespace, host = guarded.place.namespace, guarded.place.host
        if f"{namespace}/{host}" in named or any(
            _lets(each, namespace, host, shaped.ref.namespace) for each in loose
        ):
            continue
        what = "the edge does not see it: its Sidecar names it nowhere"
        yield Finding(codes.ALIGN_EXPORT, what, shaped.ref, (guarded.name,))


def _lets(named: str, namespace: str, host: str, own: str) -> bool:
    place, _, pattern = named.partition("/")
    return (own if place == "." else place) in ("*", namespace) and covers(pattern, host)


def _entries(world: World) -> Iterator[Finding]:
    for entry in world.mesh.all("ServiceEntry"):
        for host in text_list(entry.spec.get("hosts")):
            for guarded in world.by_host.get(host, ()):
                if entry.ref.namespace == guarded.place.namespace:
                    yield from exported(world, entry, guarded)
                    yield from _endpoints(entry, guarded)
                elif not hidden(world, entry):
                    what = f"it takes the name {quoted(host)}: the edge's requests may go to its endpoints"
                    yield Finding(codes.ALIGN_WAY_AROUND, what, entry.ref, (guarded.name,))


def _endpoints(entry: MeshObject, guarded: Guarded) -> Iterator[Finding]:
    for endpoint in map(mapping, items(entry.spec.get("endpoints"))):
        labels = mapping(endpoint.get("labels"))
        if labels and not guarded.labels.items() <= labels.items():
            where = quoted(str(endpoint.get("address", "")))
            what = f"the edge's requests go to {where}, which is not the model's by its labels, with the tokens for it"
            yield Finding(codes.ALIGN_WAY_AROUND, what, entry.ref, (guarded.name,))
