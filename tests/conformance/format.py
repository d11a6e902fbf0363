"""The conformance suite's format: what a policy on a site decides about requests, and the hop that refuses them.

`schemas/conformance.schema.json` is made from these classes, and docs/conformance.md says how to run the files.
"""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from meshward.policy.jsonschema import Format
from meshward.policy.schema import As, Name, Text

Decision = Literal["permit", "deny"]
Hop = Literal["edge", "decision", "guard"]
Trait = Literal[
    "takes-late-tokens",
    "takes-endless-tokens",
    "takes-long-tokens",
    "takes-any-type",
    "keeps-revoked",
    "normalises",
]
"""In what a last hop may differ from our guard, because another one on the whole path makes up for it:

`takes-late-tokens`: a token is good for up to 60 s after its `exp`. `takes-endless-tokens`: it need not have one.
`takes-long-tokens`: nor does it matter how far off that is. `takes-any-type`: a token's `typ` is not compared.
`keeps-revoked`: one that was minted before a revocation is good until its end. `normalises`: other spellings of a path
are the path.
"""
Ability = Literal[
    "client", "inside", "clock", "address", "certificates", "change", "revoke", "via", "agent", "limits"
]
"""What a harness must be able to do for a case: come as a client; come straight to the last hop; ask at a time of the
case's choosing; ask from an address of its choosing; show certificates that are not the caller's own; put another
policy in force; revoke; ask as a model that was called for somebody; ask as an agent; count requests and bytes."""


class Node(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, populate_by_name=True, use_attribute_docstrings=True
    )


class Token(Node):
    """In what a token differs from the good one that the request would have."""

    claims: dict[str, Any] = {}
    """Claims in place of the good ones; null takes one away."""
    times: dict[Literal["exp", "nbf", "iat", "auth_time"], int] = {}
    """Claims that are instants: seconds from the moment of the request."""
    header: dict[str, Any] = {}
    """Members of its header, likewise."""
    key: Literal["current", "forged", "unknown"] = "current"
    """`forged`: a stranger's key under the name of the current one. `unknown`: a stranger's under its own name."""
    signature: Literal["good", "broken", "none"] = "good"
    """`none`: an empty signature."""
    raw: str | None = None
    """This text in place of a token."""
    sent_as: list[tuple[str, str]] | None = None
    """The header lines that carry it, `{token}` for its text. Null: as its kind is sent."""


class TransactionToken(Token):
    """One that the decision service would mint for `permission`, but for the rest."""

    permission: str
    """`<model>.<action>`."""
    actors: list[Name] = []
    """Agents that act for the subject, the current one first."""


class Certificate(Node):
    """Of a caller: what differs from its own."""

    path: str | None = None
    """The SPIFFE ID's path, in place of the caller's own, which `{own}` stands for."""
    trust_domain: str | None = None
    """In place of ours."""
    authority: Literal["ours", "another"] = "ours"
    """Who issued it."""


class Client(Node):
    """A request from outside, through the whole path."""

    way: Literal["client"] = "client"
    who: As | None = None
    """The caller, as in a policy's `tests`; null: nobody, no credentials."""
    token: Token = Token()
    """The caller's own token, from its issuer."""
    certificate: Certificate = Certificate()
    """A workload's."""
    model: str | None
    """Below whose base URL; null: below the edge's own, where the body names the model."""
    method: str = "POST"
    target: str
    """The rest of the request target, byte for byte."""
    headers: list[tuple[str, str]] = []
    """Sent besides."""
    body: Any = None
    """JSON."""
    source: Text | None = None
    """The client's address; null: 127.0.0.1."""
    at: Text | None = None
    """When, `YYYY-MM-DD HH:MM` UTC; null: now."""
    via: Name | None = None
    """The model that was called, and calls on."""


class Peer(Node):
    """Who connects to the last hop. Without a name it is the edge."""

    workload: Name | None = None
    """A workload of the policy."""
    model: Name | None = None
    """The last hop of a model."""
    connection: Literal["mtls", "tls", "plaintext"] = "mtls"
    """`tls`: no certificate."""
    certificate: Certificate = Certificate()


class Inside(Node):
    """A request straight to the last hop before a server, past edge and decision service."""

    way: Literal["inside"] = "inside"
    peer: Peer = Peer()
    token: TransactionToken | None = None
    """Null: none."""
    model: Name
    """Before whose server."""
    method: str = "POST"
    target: str
    headers: list[tuple[str, str]] = []
    body: Any = None


class Otherwise(Node):
    """What a hop with a trait does."""

    decision: Decision
    arrives: str | None = None


class Expect(Node):
    """What must come of a request."""

    decision: Decision
    """`deny`: nothing of it reaches a server."""
    grant: Name | None = None
    """Which grant pays."""
    reason: Name | None = None
    """The stable word for a refusal by `edge` or `decision`."""
    refused_by: Hop | None = None
    """Which hop refuses: the `edge` by its own rules, the `decision` service that it asks, or the `guard`: the last
    hop before the server, ours or a mesh's sidecar."""
    version: Name | None = None
    """Which version answers."""
    arrives: str | None = None
    """The target as the server gets it; null: as it was sent."""
    sees: dict[str, str | None] = {}
    """Headers as the server gets them; null: not at all."""
    where: dict[Trait, Otherwise] = {}
    """What a last hop with that trait does instead."""

    @model_validator(mode="after")
    def _says_enough(self) -> Self:
        refused = self.decision == "deny"
        if refused != (self.refused_by is not None):
            raise ValueError("a refusal, and nothing else, says which hop refuses")
        if refused and (self.grant or self.version or self.arrives or self.sees):
            raise ValueError("what is refused arrives nowhere")
        if not refused and self.reason:
            raise ValueError("a permit has no reason")
        return self


class Change(Node):
    """What happens before a request, and is in force when it is sent."""

    policy: Name | None = None
    """This policy takes the place of the one before."""
    revoke: dict[Literal["subject", "agent", "token"], str] = {}
    """What is revoked: a subject as `<issuer>:<subject>` or `workload:<name>`, an agent by name, a token by `jti`."""


class Step(Node):
    """A request and what must come of it."""

    before: Change | None = None
    request: Client | Inside = Field(discriminator="way")
    expect: Expect

    @model_validator(mode="after")
    def _the_law(self) -> Self:
        if self.request.way == "client" and self.expect.where:
            raise ValueError("on a whole path no hop may differ")
        return self


class Case(Node):
    """One meaning, in as few requests as it takes."""

    id: str = Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")
    about: str
    """What must hold, in a sentence."""
    importance: Literal["core", "edge", "trap"] = "core"
    """`trap`: some real implementation fell for it."""
    covers: list[str] = []
    """Which rows of docs/support.md it is about."""
    needs: list[Ability] = []
    """What a harness must be able to do."""
    policy: Name
    """Which of the file's policies is in force at its beginning."""
    site: Name | None = None
    """Which of the file's sites, for who needs one."""
    steps: list[Step] = Field(min_length=1)


class PolicyEntry(Node):
    """A policy, and what it asks of a path: who does not enforce a row of these refuses the policy."""

    asks: dict[str, str]
    """A row of docs/support.md, and the code of the refusal for want of it."""
    policy: dict[str, Any]
    """As in a policy file. Addresses of servers and places of keys are the harness's to replace."""


class SuiteFile(Node):
    """Cases of one topic."""

    version: Literal[1] = 1
    topic: Name
    about: str
    policies: dict[Name, PolicyEntry]
    sites: dict[Name, dict[str, Any]]
    cases: list[Case]


CONFORMANCE_FORMAT = Format(SuiteFile, "meshward conformance suite", "the suite")
