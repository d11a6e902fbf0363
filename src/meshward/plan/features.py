"""The closed list of what a policy may ask of a path, and what a hop says of each: can, cannot, or not yet.

Each target declares a total table of these; `plan.requirements` says which of them a policy asks for; `plan.coverage`
proves that every path enforces those. Below the targets, so that the proof knows none of them by name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType

from meshward.kit import codes


class Kind(Enum):
    """How many hops of a path must enforce a feature, so that the path does."""

    DOOR = "any hop, also of a path that goes round others"
    DECISION = "one hop, the same for all of these"
    ENTRY = "any hop, of a path that clients come"
    PASSAGE = "any hop"
    EACH = "every hop"
    BESIDE = "no hop: the instance itself"


class Feature(Enum):
    """`code` names a refusal for want of it, and is never reused; `meaning` is what holds where it is enforced."""

    # Who comes through a door at all. What follows from a decision holds on a path for which all three hold.
    CALLER = (
        codes.LACKS_CALLER,
        Kind.DOOR,
        "by mTLS a SPIFFE ID that may connect here; nobody else sends a byte",
    )
    TRANSACTION_TOKEN = (
        codes.LACKS_TRANSACTION_TOKEN,
        Kind.DOOR,
        "a decision was taken: its token's signature, issuer, audience and time are verified",
    )
    PERMISSION = (
        codes.LACKS_PERMISSION,
        Kind.DOOR,
        "that token holds the permission that this exact method and path of this model takes",
    )
    # The facts of a decision. Split over hops, one grant would pass the first and another the second.
    ROUTES = codes.LACKS_ROUTES, Kind.DECISION, "only the exact methods and paths that an action names exist"
    IDENTITY = (
        codes.LACKS_IDENTITY,
        Kind.DECISION,
        "the caller's own token is verified by the rules of its issuer",
    )
    WORKLOADS = (
        codes.LACKS_WORKLOADS,
        Kind.DECISION,
        "a caller's SVID is verified and is that of a workload in the policy",
    )
    ROLES = (
        codes.LACKS_ROLES,
        Kind.DECISION,
        "grants to roles, which issuers' groups, claims and workloads map to",
    )
    CONDITIONS = (
        codes.LACKS_CONDITIONS,
        Kind.DECISION,
        "addresses, hours, a fresh login, a person or an agent in the chain",
    )
    ATTRIBUTES = codes.LACKS_ATTRIBUTES, Kind.DECISION, "an attribute of the caller equals the model's label"
    DENIES = codes.LACKS_DENIES, Kind.DECISION, "a deny beats every grant"
    EXPIRY = codes.LACKS_EXPIRY, Kind.DECISION, "what has a last day ends with it"
    SHADOW = codes.LACKS_SHADOW, Kind.DECISION, "a rule that is recorded and changes nothing"
    ON_REQUEST = codes.LACKS_ON_REQUEST, Kind.DECISION, "a grant that holds once somebody asked for it"
    VIA = codes.LACKS_VIA, Kind.DECISION, "which model calls on the caller's behalf"
    AGENTS = codes.LACKS_AGENTS, Kind.DECISION, "an agent acts for a person, within what both may do"
    # Before the decision.
    CANONICAL_REQUEST = (
        codes.LACKS_CANONICAL_REQUEST,
        Kind.PASSAGE,
        "one spelling of method, host, path and query; what is not proven canonical is refused",
    )
    BODY_ROUTING = (
        codes.LACKS_BODY_ROUTING,
        Kind.ENTRY,
        "a `/v1` request goes to the one model that its body names",
    )
    IDENTITY_HEADERS = (
        codes.LACKS_IDENTITY_HEADERS,
        Kind.PASSAGE,
        "no header from outside that names a caller reaches a model",
    )
    LISTENER = (
        codes.LACKS_LISTENER,
        Kind.ENTRY,
        "clients are served at this address, under this one host name",
    )
    EDGE_CERTIFICATE = (
        codes.LACKS_EDGE_CERTIFICATE,
        Kind.ENTRY,
        "the certificate that clients see, replaced while it runs",
    )
    TRUSTED_PROXIES = (
        codes.LACKS_TRUSTED_PROXIES,
        Kind.ENTRY,
        "the client's address as a listed proxy tells it",
    )
    # After the decision: what it carries along, and what takes it back.
    NEXT_HOP = (
        codes.LACKS_NEXT_HOP,
        Kind.ENTRY,
        "nothing is sent before the guard proved to be that version's",
    )
    TOKEN_TYPE = codes.LACKS_TOKEN_TYPE, Kind.PASSAGE, "no other token passes for a Transaction Token"
    TOKEN_AGE = codes.LACKS_TOKEN_AGE, Kind.PASSAGE, "a Transaction Token's whole life is bounded"
    REVOKED_SUBJECT = codes.LACKS_REVOKED_SUBJECT, Kind.PASSAGE, "a revoked caller's next request is refused"
    REVOKED_AGENT = (
        codes.LACKS_REVOKED_AGENT,
        Kind.PASSAGE,
        "so is one with a revoked agent anywhere in its chain",
    )
    REVOKED_TOKEN = (
        codes.LACKS_REVOKED_TOKEN,
        Kind.PASSAGE,
        "so is one with a credential whose token id was revoked",
    )
    REVOKED_STREAM = (
        codes.LACKS_REVOKED_STREAM,
        Kind.PASSAGE,
        "a running answer ends when its caller, agent or token is revoked",
    )
    EXPIRED_STREAM = (
        codes.LACKS_EXPIRED_STREAM,
        Kind.PASSAGE,
        "a running answer ends when its token does, where the model says so",
    )
    # How much, how large, how long.
    REQUEST_RATE = (
        codes.LACKS_REQUEST_RATE,
        Kind.PASSAGE,
        "requests per second or minute, over all versions together",
    )
    REQUEST_LEDGER = codes.LACKS_REQUEST_LEDGER, Kind.PASSAGE, "requests per hour or day"
    TOKEN_BUDGET = codes.LACKS_TOKEN_BUDGET, Kind.PASSAGE, "prompt and answer tokens per period"
    CONCURRENCY = codes.LACKS_CONCURRENCY, Kind.PASSAGE, "requests at the same time"
    SHARED_LIMIT = (
        codes.LACKS_SHARED_LIMIT,
        Kind.PASSAGE,
        "callers with the same attribute are counted together",
    )
    MAX_BODY = codes.LACKS_MAX_BODY, Kind.PASSAGE, "a model's largest request body"
    TIMEOUT = codes.LACKS_TIMEOUT, Kind.PASSAGE, "how long a model may say nothing"
    # Which server, and how.
    WEIGHTS = codes.LACKS_WEIGHTS, Kind.PASSAGE, "requests are split between versions as the policy says"
    REPLICAS = (
        codes.LACKS_REPLICAS,
        Kind.PASSAGE,
        "several servers of one version; who fails is left out for a while",
    )
    HEALTH = codes.LACKS_HEALTH, Kind.PASSAGE, "nobody is sent to a server that says it cannot work"
    SERVER_CREDENTIAL = (
        codes.LACKS_SERVER_CREDENTIAL,
        Kind.PASSAGE,
        "the key that a server demands, which no caller sees",
    )
    HTTPS_UPSTREAM = codes.LACKS_HTTPS_UPSTREAM, Kind.PASSAGE, "servers behind https"
    HOSTED_ENDPOINT = codes.LACKS_HOSTED_ENDPOINT, Kind.PASSAGE, "hosted Inference Endpoints"
    BODY_MODEL = codes.LACKS_BODY_MODEL, Kind.PASSAGE, "a body's `model` as the server itself calls it"
    CALLS = codes.LACKS_CALLS, Kind.PASSAGE, "a model calls another for whoever called it"
    CACHE = (
        codes.LACKS_CACHE,
        Kind.PASSAGE,
        "answers are reused, never for another identity than the policy allows",
    )
    # What is recorded.
    LOG = codes.LACKS_LOG, Kind.PASSAGE, "one line per request, with the verified identity"
    BODY_DIGESTS = codes.LACKS_BODY_DIGESTS, Kind.PASSAGE, "the SHA-256 of prompt and answer is measured"
    CAPTURE = codes.LACKS_CAPTURE, Kind.PASSAGE, "texts are kept, sealed or left out altogether"
    BLOCK_WHEN_BLIND = (
        codes.LACKS_BLOCK_WHEN_BLIND,
        Kind.PASSAGE,
        "requests are refused once they could not be recorded",
    )
    MAX_BLIND = codes.LACKS_MAX_BLIND, Kind.PASSAGE, "how long that may take, by the policy's word"
    ALERT_WHEN_BLIND = (
        codes.LACKS_ALERT_WHEN_BLIND,
        Kind.PASSAGE,
        "requests pass unrecorded, with an alarm and a record of the gap",
    )
    # Of every hop by itself.
    ROTATION = codes.LACKS_ROTATION, Kind.EACH, "its certificate, trust and keys are replaced while it runs"
    # Of the instance.
    OPERATORS = codes.LACKS_OPERATORS, Kind.BESIDE, "who may apply, revoke, rotate and move traffic"
    OPERATORS_AUDIT = codes.LACKS_OPERATORS_AUDIT, Kind.BESIDE, "who may read others' records"
    OPERATORS_OPEN = codes.LACKS_OPERATORS_OPEN, Kind.BESIDE, "who may open sealed texts"
    OPERATORS_ERASE = codes.LACKS_OPERATORS_ERASE, Kind.BESIDE, "who may erase what a record says of a person"
    SEALING = codes.LACKS_SEALING, Kind.BESIDE, "texts are sealed to a key that the machine does not hold"
    RETENTION = codes.LACKS_RETENTION, Kind.BESIDE, "records are erased by age"
    UNKNOWN_KEY = (
        codes.LACKS_UNKNOWN_KEY,
        Kind.BESIDE,
        "a key of the format that `plan.requirements` does not know",
    )

    def __init__(self, code: codes.Code, kind: Kind, meaning: str) -> None:
        self.code = code
        self.kind = kind
        self.meaning = meaning

    @property
    def title(self) -> str:
        """For people: `request rate`."""
        return self.name.lower().replace("_", " ")


@dataclass(frozen=True, slots=True)
class Can:
    """Enforced in full. `reload`: a change of it may need a reload, which can lose requests on idle connections."""

    how: str
    reload: bool = False

    def __str__(self) -> str:
        return f"can: {self.how}"


@dataclass(frozen=True, slots=True)
class Cannot:
    """Not by this kind of hop, or not by its part in the path. `link`: where that is written, from `docs/`."""

    why: str
    link: str

    def __str__(self) -> str:
        return f"cannot: {self.why} ({self.link})"


@dataclass(frozen=True, slots=True)
class NotYet:
    """It could, and this release does not."""

    why: str

    def __str__(self) -> str:
        return f"does not yet: {self.why}"


Support = Can | Cannot | NotYet
Table = Mapping[Feature, Support]
Requires = Mapping[Feature, tuple[str, ...]]
"""Each feature that is asked for, and where: keys of the policy, or `every request`."""

ON_PATHS: tuple[Feature, ...] = tuple(each for each in Feature if each.kind is not Kind.BESIDE)
"""What a hop's table speaks of: all of these."""

EVERY_REQUEST = "every request"
ALWAYS: Requires = MappingProxyType(
    dict.fromkeys(
        (
            Feature.CALLER,
            Feature.TRANSACTION_TOKEN,
            Feature.PERMISSION,
            Feature.ROUTES,
            Feature.CANONICAL_REQUEST,
            Feature.BODY_ROUTING,
            Feature.IDENTITY_HEADERS,
            Feature.NEXT_HOP,
            Feature.TOKEN_TYPE,
            Feature.TOKEN_AGE,
            Feature.REVOKED_SUBJECT,
            Feature.REVOKED_AGENT,
            Feature.REVOKED_TOKEN,
            Feature.REVOKED_STREAM,
            Feature.LOG,
            Feature.ROTATION,
        ),
        (EVERY_REQUEST,),
    )
)
"""What no key of a policy switches on, because none can switch it off."""


@dataclass(frozen=True, slots=True)
class Residue:
    """What is asked for and one hop does not enforce: another on its path must."""

    feature: Feature
    support: Cannot | NotYet


def residue(table: Table, asked: Iterable[Feature]) -> tuple[Residue, ...]:
    """What a hop with this table leaves of what is asked of its path, in the list's order."""
    wanted = frozenset(asked)
    return tuple(
        Residue(feature, support)
        for feature in ON_PATHS
        if feature in wanted and not isinstance(support := table[feature], Can)
    )
