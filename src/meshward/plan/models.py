"""Resolution of models: servers' routes, weights of versions, the names by which the edge knows a guard."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from meshward.kit.names import dns_label
from meshward.plan import ir
from meshward.policy import schema
from meshward.policy.servers import Naming, listed_routes, naming_of, server_kinds
from meshward.policy.values import Route

_WHOLE = 100


@dataclass(frozen=True, slots=True)
class ServerKind:
    """A kind of server, resolved once for all versions that are of it."""

    routes: Mapping[Route, schema.Action]
    health: Route | None
    naming: Naming


Kinds = Mapping[str, ServerKind]


def kinds(policy: schema.Policy) -> Kinds:
    """Every server kind that a version may name. Raises ValueError for a route with two meanings."""
    return {
        name: ServerKind(_routes(server), server.health, naming_of(name, server))
        for name, server in server_kinds(policy).items()
    }


def model(name: str, given: schema.Model, policy: schema.Policy, known: Kinds) -> ir.Model:
    """Raises ValueError for a server kind that does not exist."""
    return ir.Model(
        name=name,
        task=given.task,
        labels=dict(sorted(given.labels.items())),
        aliases=tuple(given.aliases),
        versions=_versions(name, given, policy.trust_domain, known),
        timeout=given.timeout.value,
        max_duration=given.max_duration.value,
        max_body=given.max_body.value,
        on_expiry=given.on_expiry,
        capture=given.audit.capture or policy.audit.capture,
        cache=_cache(given.cache) if given.cache is not None else None,
        calls=tuple(given.calls),
    )


def weight(version: str, given: schema.Model) -> int:
    """As `traffic` says; without it every version has the same share, and with it an unnamed one has none."""
    return _WHOLE if given.traffic is None else given.traffic.get(version, 0)


def _versions(
    model_name: str, given: schema.Model, trust_domain: str, known: Kinds
) -> tuple[ir.Version, ...]:
    found = []
    for name, version in sorted(given.versions.items()):
        if version.server not in known:
            raise ValueError(f"no such server kind: {version.server}")
        kind = known[version.server]
        found.append(
            ir.Version(
                name=name,
                server=version.server,
                url=version.url,
                weight=weight(name, given),
                routes=kind.routes,
                health=kind.health,
                credential=version.credential,
                told=tuple(version.told),
                upstream_model=version.model,
                dns_name=f"{dns_label(name)}.{dns_label(model_name)}.{trust_domain}",
                replicas=tuple(version.replicas),
                naming=kind.naming,
            )
        )
    return tuple(found)


def credential(_: str, given: schema.Credential) -> ir.Credential:
    """Raises ValueError where `from` lacks its place."""
    place = {
        "env": given.name and [given.name],
        "file": given.path and [given.path],
        "command": given.command,
    }
    if not (found := place[given.source]):
        raise ValueError(f"a credential from {given.source} lacks its place")
    return ir.Credential(given.source, tuple(found))


def _routes(kind: schema.Server) -> dict[Route, schema.Action]:
    """In the order of method and path."""
    routes: dict[Route, schema.Action] = {}
    for action, _, route in listed_routes(kind):
        if routes.setdefault(route, action) != action:
            raise ValueError(f"{route} means both {routes[route]} and {action}")
    return dict(sorted(routes.items()))


def _cache(given: schema.Cache) -> ir.CachePolicy:
    return ir.CachePolicy(given.ttl.value, given.share)
