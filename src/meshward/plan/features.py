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


class FeatureKind(Enum):
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
        FeatureKind.DOOR,
        "by mTLS a SPIFFE ID that may connect here; nobody else sends a byte",
    )
    TRANSACTION_TOKEN = (
        codes.LACKS_TRANSACTION_TOKEN,
        FeatureKind.DOOR,
        "a decision was taken: its token's signature, issuer, audience and time are verified",
    )
    PERMISSION = (
        codes.LACKS_PERMISSION,
        FeatureKind.DOOR,
        "that token holds the permission that this exact method and path of this model takes",
    )
    # The facts of a decision. Split over hops, one grant would pass the first and another the second.
    ROUTES = (
        codes.LACKS_ROUTES,
        FeatureKind.DECISION,
        "only the exact methods and paths that an action names exist",
    )
    IDENTITY = (
        codes.LACKS_IDENTITY,
        FeatureKind.DECISION,
        "the caller's own token is verified by the rules of its issuer",
    )
    WORKLOADS = (
        codes.LACKS_WORKLOADS,
        FeatureKind.DECISION,
        "a caller's SVID is verified and is that of a workload in the policy",
    )
    ROLES = (
        codes.LACKS_ROLES,
        FeatureKind.DECISION,
        "grants to roles, which issuers' groups, claims and workloads map to",
    )
    CONDITIONS = (
        codes.LACKS_CONDITIONS,
        FeatureKind.DECISION,
        "addresses, hours, a fresh login, a person or an agent in the chain",
    )
    ATTRIBUTES = (
        codes.LACKS_ATTRIBUTES,
        FeatureKind.DECISION,
        "an attribute of the caller equals the model's label",
    )
    DENIES = codes.LACKS_DENIES, FeatureKind.DECISION, "a deny beats every grant"
    EXPIRY = codes.LACKS_EXPIRY, FeatureKind.DECISION, "what has a last day ends with it"
    SHADOW = codes.LACKS_SHADOW, FeatureKind.DECISION, "a rule that is recorded and changes nothing"
    ON_REQUEST = codes.LACKS_ON_REQUEST, FeatureKind.DECISION, "a grant that holds once somebody asked for it"
    VIA = codes.LACKS_VIA, FeatureKind.DECISION, "which model calls on the caller's behalf"
    AGENTS = codes.LACKS_AGENTS, FeatureKind.DECISION, "an agent acts for a person, within what both may do"
    # Before the decision.
    CANONICAL_REQUEST = (
        codes.LACKS_CANONICAL_REQUEST,
        FeatureKind.PASSAGE,
        "one spelling of method, host, path and query; what is not proven canonical is refused",
    )
    BODY_ROUTING = (
        codes.LACKS_BODY_ROUTING,
        FeatureKind.ENTRY,
        "a `/v1` request goes to the one model that its body names",
    )
    IDENTITY_HEADERS = (
        codes.LACKS_IDENTITY_HEADERS,
        FeatureKind.PASSAGE,
        "no header from outside that names a caller reaches a model",
    )
    LISTENER = (
        codes.LACKS_LISTENER,
        FeatureKind.ENTRY,
        "clients are served at this address, under this one host name",
    )
    EDGE_CERTIFICATE = (
        codes.LACKS_EDGE_CERTIFICATE,
        FeatureKind.ENTRY,
        "the certificate that clients see, replaced while it runs",
    )
    TRUSTED_PROXIES = (
        codes.LACKS_TRUSTED_PROXIES,
        FeatureKind.ENTRY,
        "the client's address as a listed proxy tells it",
    )
    # After the decision: what it carries along, and what takes it back.
    NEXT_HOP = (
        codes.LACKS_NEXT_HOP,
        FeatureKind.ENTRY,
        "nothing is sent before the guard proved to be that version's",
    )
    TOKEN_TYPE = codes.LACKS_TOKEN_TYPE, FeatureKind.PASSAGE, "no other token passes for a Transaction Token"
    TOKEN_AGE = codes.LACKS_TOKEN_AGE, FeatureKind.PASSAGE, "a Transaction Token's whole life is bounded"
    REVOKED_SUBJECT = (
        codes.LACKS_REVOKED_SUBJECT,
        FeatureKind.PASSAGE,
        "a revoked caller's next request is refused",
    )
    REVOKED_AGENT = (
        codes.LACKS_REVOKED_AGENT,
        FeatureKind.PASSAGE,
        "so is one with a revoked agent anywhere in its chain",
    )
    REVOKED_TOKEN = (
        codes.LACKS_REVOKED_TOKEN,
        FeatureKind.PASSAGE,
        "so is one with a credential whose token id was revoked",
    )
    REVOKED_STREAM = (
        codes.LACKS_REVOKED_STREAM,
        FeatureKind.PASSAGE,
        "a running answer ends when its caller, agent or token is revoked",
    )
    EXPIRED_STREAM = (
        codes.LACKS_EXPIRED_STREAM,
        FeatureKind.PASSAGE,
        "a running answer ends when its token does, where the model says so",
    )
    # How much, how large, how long.
    REQUEST_RATE = (
        codes.LACKS_REQUEST_RATE,
        FeatureKind.PASSAGE,
        "requests per second or minute, over all versions together",
    )
    REQUEST_LEDGER = codes.LACKS_REQUEST_LEDGER, FeatureKind.PASSAGE, "requests per hour or day"
    TOKEN_BUDGET = codes.LACKS_TOKEN_BUDGET, FeatureKind.PASSAGE, "prompt and answer tokens per period"
    CONCURRENCY = codes.LACKS_CONCURRENCY, FeatureKind.PASSAGE, "requests at the same time"
    SHARED_LIMIT = (
        codes.LACKS_SHARED_LIMIT,
        FeatureKind.PASSAGE,
        "callers with the same attribute are counted together",
    )
    MAX_BODY = codes.LACKS_MAX_BODY, FeatureKind.PASSAGE, "a model's largest request body"
    TIMEOUT = codes.LACKS_TIMEOUT, FeatureKind.PASSAGE, "how long a model may say nothing, and a request last"
    # Which server, and how.
    WEIGHTS = (
        codes.LACKS_WEIGHTS,
        FeatureKind.PASSAGE,
        "requests are split between versions as the policy says",
    )
    REPLICAS = (
        codes.LACKS_REPLICAS,
        FeatureKind.PASSAGE,
        "several servers of one version; who fails is left out for a while",
    )
    HEALTH = codes.LACKS_HEALTH, FeatureKind.PASSAGE, "nobody is sent to a server that says it cannot work"
    SERVER_CREDENTIAL = (
        codes.LACKS_SERVER_CREDENTIAL,
        FeatureKind.PASSAGE,
        "the key that a server demands, which no caller sees",
    )
    PASSED_SUBJECT = (
        codes.LACKS_PASSED_SUBJECT,
        FeatureKind.PASSAGE,
        "a server is told who asks, as it was verified, and no other server is",
    )
    HTTPS_UPSTREAM = codes.LACKS_HTTPS_UPSTREAM, FeatureKind.PASSAGE, "servers behind https"
    HOSTED_ENDPOINT = codes.LACKS_HOSTED_ENDPOINT, FeatureKind.PASSAGE, "hosted Inference Endpoints"
    BODY_MODEL = codes.LACKS_BODY_MODEL, FeatureKind.PASSAGE, "a body's `model` as the server itself calls it"
    CALLS = codes.LACKS_CALLS, FeatureKind.PASSAGE, "a model calls another for whoever called it"
    CACHE = (
        codes.LACKS_CACHE,
        FeatureKind.PASSAGE,
        "answers are reused, never for another identity than the policy allows",
    )
    # What is recorded.
    LOG = codes.LACKS_LOG, FeatureKind.PASSAGE, "one line per request, with the verified identity"
    BODY_DIGESTS = (
        codes.LACKS_BODY_DIGESTS,
        FeatureKind.PASSAGE,
        "the SHA-256 of prompt and answer is measured",
    )
    CAPTURE = codes.LACKS_CAPTURE, FeatureKind.PASSAGE, "texts are kept, sealed or left out altogether"
    BLOCK_WHEN_BLIND = (
        codes.LACKS_BLOCK_WHEN_BLIND,
        FeatureKind.PASSAGE,
        "requests are refused once they could not be recorded",
    )
    MAX_BLIND = codes.LACKS_MAX_BLIND, FeatureKind.PASSAGE, "how long that may take, by the policy's word"
    ALERT_WHEN_BLIND = (
        codes.LACKS_ALERT_WHEN_BLIND,
        FeatureKind.PASSAGE,
        "requests pass unrecorded, with an alarm and a record of the gap",
    )
    # Of every hop by itself.
    ROTATION = (
        codes.LACKS_ROTATION,
        FeatureKind.EACH,
        "its certificate, trust and keys are replaced while it runs",
    )
    # Of the instance.
    OPERATORS = codes.LACKS_OPERATORS, FeatureKind.BESIDE, "who may apply, revoke, rotate and move traffic"
    OPERATORS_AUDIT = codes.LACKS_OPERATORS_AUDIT, FeatureKind.BESIDE, "who may read others' records"
    OPERATORS_OPEN = codes.LACKS_OPERATORS_OPEN, FeatureKind.BESIDE, "who may open sealed texts"
    OPERATORS_ERASE = (
        codes.LACKS_OPERATORS_ERASE,
        FeatureKind.BESIDE,
        "who may erase what a record says of a person",
    )
    SEALING = (
        codes.LACKS_SEALING,
        FeatureKind.BESIDE,
        "texts are sealed to a key that the machine does not hold",
    )
    RETENTION = (
        codes.LACKS_RETENTION,
        FeatureKind.BESIDE,
        "records are erased by age, and by nothing else: room that is taken is told",
    )
    UNKNOWN_KEY = (
        codes.LACKS_UNKNOWN_KEY,
        FeatureKind.BESIDE,
        "a key of the format that `plan.requirements` does not know",
    )

    def __init__(self, code: codes.Code, kind: FeatureKind, meaning: str) -> None:
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

ON_PATHS: tuple[Feature, ...] = tuple(each for each in Feature if each.kind is not FeatureKind.BESIDE)
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
