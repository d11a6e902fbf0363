"""The plan: a policy with everything resolved. Flat, sorted, printable, and free of any target's words.

Times are seconds since the Unix epoch, durations seconds, sizes bytes. Sequences are tuples in a fixed order:
models, versions, roles by name; grants and denies in the policy's own order, which decides who pays.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from meshward.plan.features import ALWAYS, Requires
from meshward.policy.schema import Action, Capture, Profile
from meshward.policy.servers import GENERATED, NOT_KNOWN, Naming
from meshward.policy.urls import ServerUrl
from meshward.policy.values import Hours, Network, Rate, Route


@dataclass(frozen=True, slots=True)
class Credential:
    """Where a secret is kept: `place` is a variable, a path, or a program with its arguments.

    `generated`: by meshward itself, for the (model, version) that `place` names.
    """

    source: Literal["env", "file", "command", "generated"]
    place: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a model: which servers answer, and what each of their exact routes means."""

    name: str
    server: str
    url: ServerUrl
    weight: int  # share of the traffic; 0 = deployed, receives nothing
    routes: Mapping[Route, Action]
    health: Route | None
    credential: str | None
    upstream_model: str | None
    dns_name: str  # <version>.<model>.<trust domain>: what the edge verifies in the guard's SVID
    replicas: tuple[ServerUrl, ...] = ()  # further servers
    naming: Naming = NOT_KNOWN
    told: tuple[str, ...] = ()  # what of the caller they are told

    @property
    def urls(self) -> tuple[ServerUrl, ...]:
        """Every server that answers."""
        return (self.url, *self.replicas)

    def action_of(self, method: str, path: str) -> Action | None:
        return self.routes.get(Route(method, path))

    def is_named_on(self, route: Route) -> bool:
        """Whether a body sent there is looked at for the model that it names."""
        action = self.routes.get(route)
        return action is not None and self.naming.is_on(route, action)

    @property
    def ignores_names(self) -> bool:
        """Whether its server answers alike whatever a body names. A hosted endpoint may do either; `model:` tells."""
        hosted = self.naming.where == "everywhere" and self.upstream_model is not None
        return self.naming.does == "ignores" and not hosted


@dataclass(frozen=True, slots=True)
class CachePolicy:
    ttl: int
    share: str


@dataclass(frozen=True, slots=True)
class Model:
    name: str
    task: str | None
    labels: Mapping[str, str]
    aliases: tuple[str, ...]
    versions: tuple[Version, ...]
    timeout: int  # of silence
    max_duration: int  # of a whole request
    max_body: int
    on_expiry: str
    capture: Capture
    cache: CachePolicy | None
    calls: tuple[str, ...]

    def action_of(self, method: str, path: str) -> Action | None:
        """What a request means to this model; None where no version has that route."""
        for version in self.versions:
            if (action := version.action_of(method, path)) is not None:
                return action
        return None


@dataclass(frozen=True, slots=True)
class Issuer:
    """An issuer as the policy names it. `oidc` turns it into a verifier."""

    name: str
    profile: Profile
    url: str  # the exact `iss`
    audiences: tuple[str, ...]
    clients: tuple[str, ...]
    groups: str | None  # JSON pointer, in place of the profile's
    attributes: Mapping[str, str]
    jwks_url: str | None
    jwks_file: str | None
    max_stale: int
    allow: frozenset[str]  # of "http", "private"
    login_client: str | None


@dataclass(frozen=True, slots=True)
class Member:
    """One way to be a member of a role; None means "not asked". All that is asked must hold."""

    issuer: str | None
    group: str | None
    claims: tuple[tuple[str, str | int | bool], ...]
    subject: str | None
    workload: str | None
    until: int | None


@dataclass(frozen=True, slots=True)
class Limits:
    requests: Rate | None
    tokens: Rate | None
    concurrent: int | None
    per: str  # identity | grant | an attribute's name


@dataclass(frozen=True, slots=True)
class Condition:
    sources: tuple[Network, ...] | None
    hours: Hours | None
    fresh: int | None
    via: tuple[str, ...] | None
    person: str | None
    actor: str | None


@dataclass(frozen=True, slots=True)
class Selector:
    """Which models: `names` already resolves names and labels; `same` must hold for the caller besides."""

    names: frozenset[str]
    same: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OnRequest:
    seconds: int
    approve: tuple[str, ...]
    tell: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Grant:
    id: str
    roles: tuple[str, ...]
    models: Selector
    actions: frozenset[Action]
    when: Condition | None
    limits: Limits | None
    expires: int | None
    on_request: OnRequest | None
    shadow: bool

    def gives(self, model: str, action: Action) -> bool:
        """Whether this permission is one of its own, whoever asks and when. In shadow it gives nothing."""
        return not self.shadow and action in self.actions and model in self.models.names


@dataclass(frozen=True, slots=True)
class Deny:
    """None in a field matches everything."""

    id: str
    subjects: tuple[tuple[str, str], ...] | None  # (issuer's name, subject)
    roles: tuple[str, ...] | None
    models: Selector | None
    actions: frozenset[Action] | None
    when: Condition | None
    expires: int | None
    shadow: bool

    def concerns(self, model: str, action: Action) -> bool:
        """Whether it speaks of this permission, whoever asks and when. In shadow it speaks of nothing."""
        named = self.models is None or model in self.models.names
        return not self.shadow and named and (self.actions is None or action in self.actions)


@dataclass(frozen=True, slots=True)
class Never:
    id: str
    roles: tuple[str, ...]
    models: Selector
    actions: frozenset[Action]
    unless_via: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Agent:
    name: str
    workload: str | None
    issuer: str | None
    subject: str | None
    acts_for: tuple[str, ...]
    models: Selector
    actions: frozenset[Action]
    limits: Limits | None
    max_depth: int


@dataclass(frozen=True, slots=True)
class Edge:
    host: str
    port: int
    hostname: str
    certificate_path: str | None  # None: generated
    trusted_proxies: tuple[Network, ...]


@dataclass(frozen=True, slots=True)
class Audit:
    max_blind: int
    on_blind: str
    retention: int
    max_disk: int | None
    seal_to: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    trust_domain: str
    edge: Edge
    issuers: Mapping[str, Issuer]
    workloads: Mapping[str, str]  # name -> whole SPIFFE ID
    roles: Mapping[str, tuple[Member, ...]]
    operators: Mapping[str, tuple[str, ...]]
    models: Mapping[str, Model]
    aliases: Mapping[str, str]  # alias -> model's name
    grants: tuple[Grant, ...]
    denies: tuple[Deny, ...]
    never: tuple[Never, ...]
    agents: Mapping[str, Agent]
    audit: Audit
    digest: str  # of the policy's canonical content; names the revision's content
    credentials: Mapping[str, Credential] = field(default_factory=dict)
    # What a path must enforce, and which keys of the policy ask for it.
    requires: Requires = field(default_factory=lambda: ALWAYS)

    def version(self, model: str, name: str) -> Version:
        """Raises KeyError for an unknown one."""
        return {each.name: each for each in self.models[model].versions}[name]

    def secret_of(self, model: str, version: str) -> Credential | None:
        """Where the key is kept that the guard of `version` sends to its servers."""
        name = self.version(model, version).credential
        if name == GENERATED:
            return Credential("generated", (model, version))
        return None if name is None else self.credentials[name]
