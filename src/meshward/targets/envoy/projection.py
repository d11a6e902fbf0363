"""What one guard enforces, and nothing more: the part of the plan that concerns one version of one model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from meshward.plan.ir import Grant, Model, Plan, Version
from meshward.spiffe.ids import agent_id

NET_FACTOR = (
    2  # the edge counts exactly; a guard that sees more than twice that has met a caller who went round
)


@dataclass(frozen=True, slots=True, order=True)
class GuardedRoute:
    """One exact route, and the permission (`<model>.<action>`) that it takes."""

    method: str
    path: str
    permission: str


@dataclass(frozen=True, slots=True, order=True)
class Net:
    """At most `count` requests in every `seconds` for one identity under one grant."""

    grant: str
    count: int
    seconds: int


@dataclass(frozen=True, slots=True)
class GuardView:
    """Sizes in bytes, times in seconds. `upstream` and `replicas` are servers' URLs in the policy's own spelling.

    `health` is the path that the guard asks its servers again and again; None: it asks nothing. `credential`: whether
    it sends them a key. `agents`: whether a token may name some. `told`: what of the caller its servers are told.
    """

    trust_domain: str
    issuer: str  # the `iss` of Transaction Tokens
    model: str
    version: str
    dns_name: str
    routes: tuple[GuardedRoute, ...]
    nets: tuple[Net, ...]
    upstream: str
    timeout: int  # without a byte in either direction
    max_duration: int  # of a whole request
    max_body: int
    callers: tuple[str, ...]  # SPIFFE IDs
    revoked: tuple[str, ...] = ()  # subjects, as in Transaction Tokens: none of theirs is taken any more
    revoked_agents: tuple[
        str, ...
    ] = ()  # SPIFFE IDs: nor any for which they act, wherever they stand in its chain
    replicas: tuple[str, ...] = ()
    health: str | None = None
    credential: bool = False
    agents: bool = False
    told: tuple[str, ...] = ()

    @property
    def upstreams(self) -> tuple[str, ...]:
        """Every server."""
        return (self.upstream, *self.replicas)

    @property
    def spiffe_id(self) -> str:
        """Who this guard is."""
        return f"spiffe://{self.trust_domain}/model/{self.model}"


@dataclass(frozen=True, slots=True)
class GuardPart:
    """Which guard: that of `version` of `model`, closed to the subjects `revoked` and the `agents` (policy's names)."""

    model: str
    version: str
    revoked: Sequence[str] = ()
    agents: Sequence[str] = ()


def guard_view(plan: Plan, part: GuardPart) -> GuardView:
    """What the guard for `part` enforces. Raises KeyError for an unknown version.

    A route that no grant could open is not there. One that is given on request is: it opens without a new revision.
    """
    model, entry = part.model, plan.models[part.model]
    deployed = plan.version(model, part.version)
    routes = (
        GuardedRoute(route.method, route.path, f"{model}.{action}")
        for route, action in deployed.routes.items()
        if any(grant.gives(model, action) for grant in plan.grants)
    )
    return GuardView(
        trust_domain=plan.trust_domain,
        issuer=f"https://{plan.edge.hostname}",
        model=model,
        version=part.version,
        dns_name=deployed.dns_name,
        routes=tuple(sorted(routes)),
        nets=tuple(sorted(net for grant in plan.grants if (net := _net(grant, model)))),
        upstream=str(deployed.url),
        timeout=entry.timeout,
        max_duration=entry.max_duration,
        max_body=entry.max_body,
        callers=(f"spiffe://{plan.trust_domain}/edge",),
        revoked=tuple(sorted(part.revoked)),
        revoked_agents=tuple(sorted(str(agent_id(plan.trust_domain, name)) for name in part.agents)),
        replicas=tuple(map(str, deployed.replicas)),
        health=_health(entry, deployed),
        credential=deployed.credential is not None,
        agents=bool(plan.agents or part.agents),
        told=deployed.told,
    )


def _health(model: Model, version: Version) -> str | None:
    """Asked only where the answer can change anything: there is another server, or another version, to go to."""
    if version.health is None or not (version.replicas or len(model.versions) > 1):
        return None
    return version.health.path


def _net(grant: Grant, model: str) -> Net | None:
    """Also for a limit `per` grant or attribute: what several share bounds each of them."""
    if (
        grant.shadow
        or model not in grant.models.names
        or grant.limits is None
        or grant.limits.requests is None
    ):
        return None
    rate = grant.limits.requests
    return Net(grant.id, NET_FACTOR * rate.count, rate.seconds)
