"""What a policy file may say: the whole format, as types. Unknown keys, wrong types, bad values are refused.

Every class here is one mapping in the file; docs/policy.md and schemas/policy.schema.json are made from it,
with the string below each key as its description. Values with a grammar of their own (`policy.texts`) are read here,
and nowhere again.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag
from typing_extensions import TypeAliasType

from meshward.kit import canonical
from meshward.policy.grammar import parse_duration, parse_listen, parse_size, parse_written
from meshward.policy.texts import (
    Date,
    Duration,
    Hostname,
    Hours,
    Instant,
    IpAddress,
    Listen,
    Name,
    Network,
    Pointer,
    ProxyNetwork,
    Rate,
    Room,
    Route,
    ServerUrl,
    Size,
    SpiffePath,
    Text,
    TrustDomain,
    Url,
)

Action = Literal["infer", "describe", "observe", "manage"]
ACTIONS: tuple[Action, ...] = ("infer", "describe", "observe", "manage")
Profile = Literal["okta", "cognito", "entra", "keycloak", "kubernetes", "github-actions", "oidc"]
Capture = Literal["digest", "sealed", "capture", "off"]
Mode = Literal["enforce", "shadow"]
BodyModel = Literal["unknown", "selects", "ignores"]
Claim = str | int | bool
MOST_REPLICAS = 16
Texts = TypeAliasType("Texts", Annotated[list[Text], Field(min_length=1, description="One text or more.")])
Names = TypeAliasType("Names", Annotated[list[Name], Field(min_length=1, description="One name or more.")])
Actions = TypeAliasType(
    "Actions",
    Annotated[
        list[Action],
        Field(min_length=1, description="One or more of `infer`, `describe`, `observe`, `manage`."),
    ],
)


def _form(value: object) -> str:
    """Which form of a choice the author took, so that an error speaks of that one alone."""
    if isinstance(value, list):
        return "list"
    return "mapping" if isinstance(value, (dict, BaseModel)) else "word"


Audience = Annotated[Annotated[Text, Tag("word")] | Annotated[Texts, Tag("list")], Discriminator(_form)]


class _Node(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, populate_by_name=True, use_attribute_docstrings=True
    )


class Certificate(_Node):
    """Where the edge's server certificate comes from."""

    source: Annotated[Literal["generated", "files"], Field(alias="from")] = "generated"
    """`generated`: by meshward's own CA. `files`: the one at `path`, watched; a new one needs no restart."""
    path: Text | None = None
    """With `files` only: a directory with `fullchain.pem` and `privkey.pem`, as certbot writes them, or one PEM file
    with the key and the chain. Links are followed. It must name `hostname`."""


class Edge(_Node):
    """The listener that clients meet."""

    listen: Listen = parse_written(parse_listen, "127.0.0.1:8443")
    """The address and port of the TLS listener."""
    hostname: Hostname = "localhost"
    """The one host name that is answered, and the name in the certificate."""
    certificate: Certificate = Certificate()
    """The server certificate."""
    trusted_proxies: list[ProxyNetwork] = []
    """Who may set `X-Forwarded-For`. Empty: the peer is the client."""


class Login(_Node):
    """The public client that `meshward login` uses at an issuer."""

    client: Text
    """Its client id."""


class Jwks(_Node):
    """Where an issuer's keys are, if not where its discovery document says, and how stale they may be."""

    url: Url | None = None
    """The key set's URL, in place of discovery."""
    file: Text | None = None
    """A file with the key set, in place of discovery."""
    max_stale: Duration = parse_written(parse_duration, "24h")
    """How long the last keys are trusted while the issuer cannot be reached."""
    allow: list[Literal["http", "private"]] = []
    """`http`: no TLS, on this machine only. `private`: an address that is not public. Else refused."""


GITHUB_ACTIONS = "https://token.actions.githubusercontent.com"


class Issuer(_Node):
    """An OIDC provider that vouches for people or workloads. Its name begins every subject: `okta:00u1`."""

    profile: Profile
    """The shape of its tokens. `oidc` is any provider; its fields are what a profile would preset."""
    issuer: Url | None = None
    """Its exact `iss`. Needed, except for `cognito`, which derives it, and `github-actions`."""
    audience: Audience | None = None
    """Which `aud` a token must have (any one of a list). Needed except for `cognito`."""
    groups: Pointer | None = None
    """Where the groups are in the claims, in place of the profile's place."""
    login: Login | None = None
    """How people log in from the command line."""
    attributes: dict[Name, Text] = {}
    """Facts about the caller, by name. A value that begins with `/` is a JSON pointer into the claims, any
    other a constant. `same`, `per` and `share` use them."""
    jwks: Jwks = Jwks()
    """Its keys."""
    region: Annotated[str, Field(pattern=r"^[a-z]{2}(-[a-z]+)+-[0-9]$")] | None = None
    """Of a `cognito` user pool."""
    user_pool: Annotated[str, Field(pattern=r"^[a-z0-9-]+_[0-9a-zA-Z]+$", max_length=64)] | None = None
    """Of a `cognito` user pool: its id."""
    clients: list[Text] = []
    """Which clients' tokens are taken. Needed for `cognito`, whose access tokens have no audience."""

    @property
    def iss(self) -> str | None:
        """The exact `iss` of its tokens: as given, else as its profile knows it. None: the policy does not say."""
        if self.issuer is not None:
            return str(self.issuer)
        if self.profile == "cognito" and self.region and self.user_pool:
            return f"https://cognito-idp.{self.region}.amazonaws.com/{self.user_pool}"
        return GITHUB_ACTIONS if self.profile == "github-actions" else None


class Workload(_Node):
    """A program of ours that has a SPIFFE ID in the trust domain."""

    id: SpiffePath
    """The path of its SPIFFE ID. `/edge` and `/model/...` are meshward's own."""


class Member(_Node):
    """One way to be a member of a role: a workload, or an issuer with a group, claims or a subject. All keys
    of a line must hold."""

    issuer: Name | None = None
    """Who must vouch for the caller."""
    group: Text | None = None
    """A group that the issuer's token must list."""
    claims: Annotated[dict[Text, Claim], Field(min_length=1)] | None = None
    """Claims that must have these very values (`"1"` is not `1`); a key may be a JSON pointer."""
    subject: Text | None = None
    """The issuer's stable id of one caller."""
    workload: Name | None = None
    """The workload that the caller must be."""
    until: Date | None = None
    """When this membership ends."""


class Operators(_Node):
    """Roles with rights over meshward itself. A model's `manage` gives none of them."""

    apply: list[Name] = []
    """May apply and roll back policies, rotate keys, and revoke."""
    traffic: list[Name] = []
    """May change the weights of versions, and nothing else."""
    audit: list[Name] = []
    """May trace, search and export other people's records."""
    open: list[Name] = []
    """May read sealed and captured texts."""
    erase: list[Name] = []
    """May destroy what a record says of a person."""


class Credential(_Node):
    """A secret of an upstream: named here, kept elsewhere. The name `generated` is built in: a key that the
    guard sends and the server demands."""

    source: Annotated[Literal["env", "file", "command"], Field(alias="from")]
    """Where the secret is kept."""
    name: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=128)] | None = None
    """With `env` only: the environment variable."""
    path: Text | None = None
    """With `file` only: the file, which others may not read. A new content is taken within seconds."""
    command: Texts | None = None
    """With `command` only: a program and its arguments, run without a shell; its output is the secret."""


class Server(_Node):
    """A server kind of one's own, beside the built-in ones: the exact routes of each action. What is not
    listed does not exist for a client."""

    infer: list[Route] = []
    """Routes that use the model."""
    describe: list[Route] = []
    """Routes that tell about the model (info, tokenize) without using it."""
    observe: list[Route] = []
    """Routes for metrics."""
    manage: list[Route] = []
    """Routes that change the server."""
    health: Route | None = None
    """A `GET` route that answers 200 when the server can work. For meshward itself, not for clients."""
    body_model: Annotated[BodyModel, Field(exclude_if=lambda given: given == "unknown")] = "unknown"
    """What the server makes of a `model` at the top of a body sent to `infer` or `describe`. `unknown`: nobody can
    tell, so a body may name its own model alone. `selects`: it answers as the model that is named, on each of these
    routes; then several models may share it. `ignores`: nothing, so bodies may say there what they like."""


class Version(_Node):
    """One deployable version of a model, and the server that answers for it."""

    server: Name
    """Its server kind: `tei`, `vllm`, `tgi`, `transformers`, `inference-endpoint`, or one under `servers`."""
    url: ServerUrl
    """Where the server answers its guard."""
    replicas: Annotated[list[ServerUrl], Field(max_length=MOST_REPLICAS)] = []
    """Further servers of the same version, beside `url`: its guard spreads requests over all of them."""
    credential: Name | None = None
    """What the guard sends as the server's bearer token: one of `credentials`, or `generated`."""
    model: Text | None = None
    """What the server itself calls the model. A body must then name the model, by its name or an alias, and its server
    reads this instead. Models that share a server each need one of their own."""
    told: Annotated[
        list[Literal["subject"]], Field(alias="pass", max_length=1, exclude_if=lambda told: not told)
    ] = []
    """What the server is told of the caller. `subject`: who it is, in the header `X-Meshward-Subject`."""


class Cache(_Node):
    """Whether answers may be reused, for how long, and among whom."""

    ttl: Duration
    """How long an answer may be reused."""
    share: Name = "identity"
    """Among whom: `identity`, `grant`, `everyone`, or the name of an attribute."""


class ModelAudit(_Node):
    """What the audit keeps of this model's texts."""

    capture: Capture | None = None
    """In place of the policy's `audit.capture`."""


class Model(_Node):
    """A named model, its versions and how traffic is split among them. Its base URL is `https://<edge>/m/<name>`."""

    task: Text | None = None
    """Its task on the Hugging Face Hub, for people to read."""
    labels: dict[Name, Text] = {}
    """By which grants, denies, laws and agents may select it."""
    aliases: list[Text] = []
    """What clients may call it in a body's `model`, beside its name."""
    versions: Annotated[dict[Name, Version], Field(min_length=1)]
    """Its versions, by name."""
    traffic: dict[Name, Annotated[int, Field(ge=0, le=100000)]] | None = None
    """Weights of the versions; one that is not named receives nothing."""
    cache: Cache | None = None
    """Reuse of answers. Left out: none."""
    timeout: Duration = parse_written(parse_duration, "60s")
    """How long nothing may come: before an answer begins (then 504), and between two pieces of it."""
    max_duration: Annotated[Duration, Field(exclude_if=lambda given: given.value == 3600)] = parse_written(
        parse_duration, "1h"
    )
    """How long a request may last in all, from its head to the last byte of its answer, however steadily bytes come.
    One that lasts longer is ended: by 504 before its answer has begun, else as a stream whose caller is revoked."""
    max_body: Size = parse_written(parse_size, "2m")
    """The largest request body; a larger one is refused with 413. The digest needs the body in memory."""
    on_expiry: Literal["finish", "cut"] = "finish"
    """What happens to a stream whose token ends."""
    audit: ModelAudit = ModelAudit()
    """What is kept of its texts."""
    calls: list[Name] = []
    """Models that it may call on behalf of whoever called it."""


class ModelSelector(_Node):
    """Models by label, by an attribute of the caller that equals a label of the same name, or both."""

    labels: dict[Name, Text] = {}
    """Labels that the model must have, all of them."""
    same: list[Name] = []
    """Attributes of the caller that must equal the model's label of the same name."""


Selection = TypeAliasType(
    "Selection",
    Annotated[
        Annotated[Literal["all"], Tag("word")]
        | Annotated[Names, Tag("list")]
        | Annotated[ModelSelector, Tag("mapping")],
        Discriminator(_form),
        Field(description="`all`, a list of models' names, or a mapping with `labels`, `same` or both."),
    ],
)


class When(_Node):
    """Conditions; all that are given must hold."""

    source: Annotated[Annotated[list[Network], Field(min_length=1)] | None, Field(alias="from")] = None
    """Networks, in one of which the client's address must be."""
    hours: Hours | None = None
    """A weekly window."""
    fresh: Duration | None = None
    """How long ago the caller may have logged in at most."""
    via: Names | None = None
    """Models, one of which must be calling on the caller's behalf."""
    person: Literal["required", "absent"] | None = None
    """Whether a person must stand at the beginning of the chain, or must not."""
    actor: Literal["present", "absent"] | None = None
    """Whether an agent must be acting for the caller, or must not."""


class Limits(_Node):
    """How much may be used. Counted per identity over all models and versions of the grant together."""

    requests: Rate | None = None
    """Requests per period."""
    tokens: Rate | None = None
    """Prompt and answer tokens per period."""
    concurrent: Annotated[int, Field(ge=1, le=100000)] | None = None
    """Requests at the same time."""
    per: Name = "identity"
    """Who is counted together: `identity`, `grant`, or the name of an attribute."""


class OnRequest(_Node):
    """A grant that sleeps until somebody asks for it."""

    duration: Annotated[Duration, Field(alias="for")]
    """How long it then holds."""
    approve: list[Name] = []
    """Roles, a member of one of which must agree. Empty: nobody need (break-glass)."""
    tell: list[Text] = []
    """Whom to tell."""


class Subject(_Node):
    """One caller, by the issuer's stable id."""

    issuer: Name
    """The issuer's name in this policy."""
    subject: Text
    """The stable id."""


class Grant(_Node):
    """Adds permissions to roles. Nothing is permitted without one; the first that holds pays."""

    id: Name
    """What records and refusals call it."""
    roles: Names
    """Who gets it."""
    models: Selection
    """For which models."""
    actions: Actions
    """For which actions."""
    when: When | None = None
    """Under which conditions."""
    limits: Limits | None = None
    """How much."""
    expires: Date | None = None
    """Until when. A lint once it is past, never an error."""
    on_request: OnRequest | None = None
    """Whether somebody must ask for it first."""
    mode: Mode = "enforce"
    """`shadow`: only recorded, permits nothing."""


class Deny(_Node):
    """Beats every grant. What is not given matches everything; something must be given."""

    id: Name
    """What records and refusals call it."""
    subjects: Annotated[list[Subject], Field(min_length=1)] | None = None
    """Callers."""
    roles: Names | None = None
    """Roles."""
    models: Selection | None = None
    """Models."""
    actions: Actions | None = None
    """Actions."""
    when: When | None = None
    """Conditions."""
    expires: Date | None = None
    """Until when."""
    mode: Mode = "enforce"
    """`shadow`: only recorded, denies nothing."""


class Unless(_Node):
    """The exception of a law."""

    via: Names
    """Models; what one of them calls on the caller's behalf is outside the law."""


class Never(_Node):
    """A law over the whole policy: no grants may ever add up to this. Proven by `check`, `plan`, `apply`."""

    id: Name
    """What a refusal calls it."""
    roles: Names
    """Who must never."""
    models: Selection
    """Which models."""
    actions: Actions = list(ACTIONS)
    """Which actions; all if not given."""
    unless: Unless | None = None
    """The exception."""


class AgentCredential(_Node):
    """How an agent proves who it is: a workload, or a subject of an issuer."""

    workload: Name | None = None
    """The workload that it is."""
    issuer: Name | None = None
    """Who vouches for it."""
    subject: Text | None = None
    """Its stable id at that issuer."""


class Agent(_Node):
    """A program that may act for people, and for no more than this."""

    credential: AgentCredential
    """How it proves who it is."""
    acts_for: Names
    """Roles for whose members it may act."""
    models: Selection
    """Which models it may use."""
    actions: Actions
    """Which actions it may take."""
    limits: Limits | None = None
    """How much."""
    max_depth: Annotated[int, Field(ge=1, le=8)] = 1
    """How many agents may stand in a chain."""


class Audit(_Node):
    """What is kept of requests, how long, and what happens when it cannot be."""

    capture: Capture = "digest"
    """`digest`: salted digests of prompts and answers. `sealed`: the texts, for the holders of `seal_to`
    alone. `capture`: the texts. `off`: sizes only."""
    seal_to: list[Text] = []
    """Files with the public keys to which texts are sealed."""
    retention: Duration = parse_written(parse_duration, "183d")
    """How long records of requests and of changes, and counts of refusals, are kept; they end within the hour after."""
    max_disk: Annotated[Room | None, Field(exclude_if=lambda room: room is None)] = None
    """How much room they may take. None ends before its time to make room: at 80 % `status` raises an alarm, and when
    all is taken `on_blind` decides about requests."""
    max_blind: Duration = parse_written(parse_duration, "10s")
    """How long requests may pass although no record of them could be kept."""
    on_blind: Literal["block", "alert"] = "block"
    """What happens then: refuse, or raise an alarm and record the gap."""


class As(_Node):
    """Who a test speaks for; also what `meshward explain --as` takes."""

    issuer: Name | None = None
    """Who vouches for the caller."""
    subject: Text | None = None
    """The issuer's stable id of the caller."""
    groups: list[Text] = []
    """The caller's groups at the issuer."""
    claims: dict[str, object] = {}
    """Further claims of the token."""
    attributes: dict[Name, Text] = {}
    """Attributes, in place of those read from claims."""
    workload: Name | None = None
    """The workload that calls."""
    actor: Name | None = None
    """The agent that acts for the caller."""
    authenticated: Instant | None = None
    """When the caller logged in."""


class Test(_Node):
    """One sentence about the policy that must stay true. A test that fails refuses the policy."""

    __test__ = False  # not a pytest class

    who: Annotated[As, Field(alias="as")]
    """Who asks."""
    model: Name
    """For which model."""
    action: Action
    """For which action."""
    expect: Literal["permit", "denial"]
    """What must come out."""
    source: Annotated[IpAddress | None, Field(alias="from")] = None
    """From which address."""
    at: Instant | None = None
    """When; if not given, a fixed moment (noon UTC on Monday, 1 January 2024): no date that passes can fail a
    test."""
    via: Name | None = None
    """On whose behalf: the model that calls."""


class Policy(_Node):
    """One policy: identity and access, defined once."""

    version: Literal[1]
    """The version of this format: 1. May stand in every file of a policy directory."""
    trust_domain: TrustDomain
    """The SPIFFE trust domain of edge, guards, agents and workloads."""
    edge: Edge = Edge()
    """Where and under which name clients meet the gateway."""
    issuers: dict[Name, Issuer] = {}
    """Who can vouch for people and workloads, by name."""
    workloads: dict[Name, Workload] = {}
    """Programs of ours, by name."""
    roles: dict[Name, list[Member]] = {}
    """The vocabulary of every layer, by name; each line is one way to be a member."""
    operators: Operators = Operators()
    """Who has rights over meshward itself."""
    credentials: dict[Name, Credential] = {}
    """Secrets of upstreams, by name."""
    servers: dict[Name, Server] = {}
    """Server kinds of one's own, by name."""
    models: Annotated[dict[Name, Model], Field(min_length=1)]
    """Models, by name."""
    grants: list[Grant] = []
    """What is permitted. Nothing else is."""
    denies: list[Deny] = []
    """What is denied whatever the grants say."""
    never: list[Never] = []
    """Laws over the whole policy."""
    agents: dict[Name, Agent] = {}
    """Who may act for whom, by name."""
    audit: Audit = Audit()
    """What is kept of requests."""
    tests: list[Test] = []
    """Sentences about the policy that must stay true."""

    @property
    def digest(self) -> str:
        """What names this content, however it was written and by whichever release: lower-case hex SHA-256."""
        return canonical.digest(self.model_dump(mode="json", by_alias=True))
