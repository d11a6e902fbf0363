"""Resolution of models: servers' routes, weights of versions, the names by which the edge knows a guard."""

from __future__ import annotations

from collections.abc import Mapping

from meshward.kit.names import dns_label
from meshward.plan import ir
from meshward.policy import schema, values
from meshward.policy.servers import listed_routes

Servers = Mapping[str, schema.Server]
_WHOLE = 100


def model(name: str, given: schema.Model, policy: schema.Policy, servers: Servers) -> ir.Model:
    """Raises ValueError for a server kind that does not exist."""
    return ir.Model(
        name=name,
        task=given.task,
        labels=dict(sorted(given.labels.items())),
        aliases=tuple(given.aliases),
        versions=_versions(name, given, policy.trust_domain, servers),
        timeout=values.parse_duration(given.timeout),
        max_body=values.parse_size(given.max_body),
        on_expiry=given.on_expiry,
        capture=given.audit.capture or policy.audit.capture,
        cache=_cache(given.cache) if given.cache is not None else None,
        calls=tuple(given.calls),
    )


def weight(version: str, given: schema.Model) -> int:
    """As `traffic` says; without it every version has the same share, and with it an unnamed one has none."""
    return _WHOLE if given.traffic is None else given.traffic.get(version, 0)


def _versions(
    model_name: str, given: schema.Model, trust_domain: str, servers: Servers
) -> tuple[ir.Version, ...]:
    found = []
    for name, version in sorted(given.versions.items()):
        if version.server not in servers:
            raise ValueError(f"no such server kind: {version.server}")
        kind = servers[version.server]
        found.append(
            ir.Version(
                name=name,
                server=version.server,
                url=version.url,
                weight=weight(name, given),
                routes=_routes(kind),
                health=_route(values.parse_route(kind.health)) if kind.health is not None else None,
                credential=version.credential,
                upstream_model=version.model,
                dns_name=f"{dns_label(name)}.{dns_label(model_name)}.{trust_domain}",
                replicas=tuple(version.replicas),
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


def _routes(kind: schema.Server) -> dict[ir.Route, schema.Action]:
    """In the order of method and path. Raises ValueError for a route with two meanings."""
    routes: dict[ir.Route, schema.Action] = {}
    for action, _, listed in listed_routes(kind):
        route = _route(listed)
        if routes.setdefault(route, action) != action:
            raise ValueError(f"{route.method} {route.path} means both {routes[route]} and {action}")
    return dict(sorted(routes.items()))


def _route(listed: values.Route) -> ir.Route:
    return ir.Route(listed.method, listed.path)


def _cache(given: schema.Cache) -> ir.CachePolicy:
    return ir.CachePolicy(values.parse_duration(given.ttl), given.share)
