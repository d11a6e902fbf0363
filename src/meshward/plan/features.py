"""The closed list of what a policy may ask of a path, and what a hop says of each: can, cannot, or not yet.

Each target declares a total table of these; `plan.requirements` says which of them a policy asks for; `plan.coverage`
proves that every path enforces those. Below the targets, so that the proof knows none of them by name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType


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
    CALLER = "MW1040", Kind.DOOR, "by mTLS a SPIFFE ID that may connect here; nobody else sends a byte"
    TRANSACTION_TOKEN = (
        "MW1041",
        Kind.DOOR,
        "a decision was taken: its token's signature, issuer, audience and time are verified",
    )
    PERMISSION = (
        "MW1042",
        Kind.DOOR,
        "that token holds the permission that this exact method and path of this model takes",
    )
    # The facts of a decision. Split over hops, one grant would pass the first and another the second.
    ROUTES = "MW1043", Kind.DECISION, "only the exact methods and paths that an action names exist"
    IDENTITY = "MW1044", Kind.DECISION, "the caller's own token is verified by the rules of its issuer"
    WORKLOADS = "MW1045", Kind.DECISION, "a caller's SVID is verified and is that of a workload in the policy"
    ROLES = "MW1046", Kind.DECISION, "grants to roles, which issuers' groups, claims and workloads map to"
    CONDITIONS = "MW1047", Kind.DECISION, "addresses, hours, a fresh login, a person or an agent in the chain"
    ATTRIBUTES = "MW1048", Kind.DECISION, "an attribute of the caller equals the model's label"
    DENIES = "MW1049", Kind.DECISION, "a deny beats every grant"
    EXPIRY = "MW1050", Kind.DECISION, "what has a last day ends with it"
    SHADOW = "MW1026", Kind.DECISION, "a rule that is recorded and changes nothing"
    ON_REQUEST = "MW1025", Kind.DECISION, "a grant that holds once somebody asked for it"
    VIA = "MW1033", Kind.DECISION, "which model calls on the caller's behalf"
    AGENTS = "MW1001", Kind.DECISION, "an agent acts for a person, within what both may do"
    # Before the decision.
    CANONICAL_REQUEST = (
        "MW1051",
        Kind.PASSAGE,
        "one spelling of method, host, path and query; what is not proven canonical is refused",
    )
    BODY_ROUTING = "MW1052", Kind.ENTRY, "a `/v1` request goes to the one model that its body names"
    IDENTITY_HEADERS = "MW1053", Kind.PASSAGE, "no header from outside that names a caller reaches a model"
    LISTENER = "MW1054", Kind.ENTRY, "clients are served at this address, under this one host name"
    EDGE_CERTIFICATE = "MW1055", Kind.ENTRY, "the certificate that clients see, replaced while it runs"
    TRUSTED_PROXIES = "MW1006", Kind.ENTRY, "the client's address as a listed proxy tells it"
    # After the decision: what it carries along, and what takes it back.
    NEXT_HOP = "MW1056", Kind.ENTRY, "nothing is sent before the guard proved to be that version's"
    TOKEN_TYPE = "MW1057", Kind.PASSAGE, "no other token passes for a Transaction Token"
    TOKEN_AGE = "MW1058", Kind.PASSAGE, "a Transaction Token's whole life is bounded"
    REVOKED_SUBJECT = "MW1059", Kind.PASSAGE, "a revoked caller's next request is refused"
    REVOKED_AGENT = "MW1060", Kind.PASSAGE, "so is one with a revoked agent anywhere in its chain"
    REVOKED_TOKEN = "MW1061", Kind.PASSAGE, "so is one with a credential whose token id was revoked"
    REVOKED_STREAM = (
        "MW1062",
        Kind.PASSAGE,
        "a running answer ends when its caller, agent or token is revoked",
    )
    EXPIRED_STREAM = (
        "MW1063",
        Kind.PASSAGE,
        "a running answer ends when its token does, where the model says so",
    )
    # How much, how large, how long.
    REQUEST_RATE = "MW1064", Kind.PASSAGE, "requests per second or minute, over all versions together"
    REQUEST_LEDGER = "MW1021", Kind.PASSAGE, "requests per hour or day"
    TOKEN_BUDGET = "MW1022", Kind.PASSAGE, "prompt and answer tokens per period"
    CONCURRENCY = "MW1023", Kind.PASSAGE, "requests at the same time"
    SHARED_LIMIT = "MW1024", Kind.PASSAGE, "callers with the same attribute are counted together"
    MAX_BODY = "MW1065", Kind.PASSAGE, "a model's largest request body"
    TIMEOUT = "MW1066", Kind.PASSAGE, "how long a model may say nothing"
    # Which server, and how.
    WEIGHTS = "MW1067", Kind.PASSAGE, "requests are split between versions as the policy says"
    REPLICAS = "MW1068", Kind.PASSAGE, "several servers of one version; who fails is left out for a while"
    HEALTH = "MW1069", Kind.PASSAGE, "nobody is sent to a server that says it cannot work"
    SERVER_CREDENTIAL = "MW1070", Kind.PASSAGE, "the key that a server demands, which no caller sees"
    HTTPS_UPSTREAM = "MW1013", Kind.PASSAGE, "servers behind https"
    HOSTED_ENDPOINT = "MW1012", Kind.PASSAGE, "hosted Inference Endpoints"
    BODY_MODEL = "MW1015", Kind.PASSAGE, "a body's `model` as the server itself calls it"
    CALLS = "MW1019", Kind.PASSAGE, "a model calls another for whoever called it"
    CACHE = "MW1016", Kind.PASSAGE, "answers are reused, never for another identity than the policy allows"
    # What is recorded.
    LOG = "MW1071", Kind.PASSAGE, "one line per request, with the verified identity"
    BODY_DIGESTS = "MW1072", Kind.PASSAGE, "the SHA-256 of prompt and answer is measured"
    CAPTURE = "MW1018", Kind.PASSAGE, "texts are kept, sealed or left out altogether"
    BLOCK_WHEN_BLIND = "MW1073", Kind.PASSAGE, "requests are refused once they could not be recorded"
    MAX_BLIND = "MW1030", Kind.PASSAGE, "how long that may take, by the policy's word"
    ALERT_WHEN_BLIND = (
        "MW1031",
        Kind.PASSAGE,
        "requests pass unrecorded, with an alarm and a record of the gap",
    )
    # Of every hop by itself.
    ROTATION = "MW1074", Kind.EACH, "its certificate, trust and keys are replaced while it runs"
    # Of the instance.
    OPERATORS = "MW1075", Kind.BESIDE, "who may apply, revoke, rotate and move traffic"
    OPERATORS_AUDIT = "MW1003", Kind.BESIDE, "who may read others' records"
    OPERATORS_OPEN = "MW1034", Kind.BESIDE, "who may open sealed texts"
    OPERATORS_ERASE = "MW1035", Kind.BESIDE, "who may erase what a record says of a person"
    SEALING = "MW1028", Kind.BESIDE, "texts are sealed to a key that the machine does not hold"
    RETENTION = "MW1029", Kind.BESIDE, "records are erased by age"
    UNKNOWN_KEY = "MW1032", Kind.BESIDE, "a key of the format that `plan.requirements` does not know"

    def __init__(self, code: str, kind: Kind, meaning: str) -> None:
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
