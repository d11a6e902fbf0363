"""What the service says to nginx, as values, and their one encoding."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from meshward.kit.canonical import canonical_json
from meshward.kit.reasons import Reason
from meshward.kit.secret import Secret
from meshward.kit.strict import encode as base64url
from meshward.policy.values import Rate
from meshward.targets.nginx.wire import Header, names_text, rate_text

Headers = list[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Permitted:
    """Everything that nginx needs for this request and, for `ttl` seconds, for the next ones like it.

    `route` is a `route_text`, `times` a `times_text`; `names`: what a body's `model` may say, none where it is not
    looked at; `ends_at`: when a running answer is to be ended, in seconds since the epoch.
    """

    route: str
    times: str
    names: Sequence[str]
    rate: Rate | None
    bucket: str
    token: Secret
    ties: Sequence[str]
    ends_at: int | None
    facts: Mapping[str, Any]
    ttl: int


@dataclass(frozen=True, slots=True)
class Refused:
    """The client's status and why. `facts` are of a verified identity; `challenge` is a WWW-Authenticate."""

    status: int
    reason: Reason
    message: str
    challenge: str = ""
    facts: Mapping[str, Any] | None = None
    ttl: int = 0


@dataclass(frozen=True, slots=True)
class Fault:
    """Not the caller's fault. Of a 503 clients get reason and message; nginx answers for itself to any other."""

    status: int
    reason: Reason
    message: str = ""


Reply = Permitted | Refused | Fault


class Encoded(NamedTuple):
    """HTTP status and headers of the service's own answer; there is no body."""

    status: int
    headers: Headers


def encode(reply: Reply) -> Encoded:
    """`reply` as nginx reads it. Raises ValueError for a rate that nginx cannot count.

    nginx's auth_request passes on 401 and 403 only: the client's status travels in a header.
    """
    match reply:
        case Permitted():
            status, said = 200, _permitted_headers(reply)
        case Refused():
            status, said = 401 if reply.status == 401 else 403, _refused_headers(reply)
        case Fault():
            status, said = reply.status, _fault_headers(reply)
    ttl = 0 if isinstance(reply, Fault) else reply.ttl
    headers = [(name.raw, value.encode("ascii")) for name, value in said]
    return Encoded(status, [*headers, (Header.TTL.raw, str(ttl).encode())])


def facts_text(facts: Mapping[str, Any] | None) -> str:
    """base64url of the canonical JSON: what the log holds of a decision."""
    return "" if facts is None else base64url(canonical_json(facts).encode())


def _permitted_headers(reply: Permitted) -> Iterator[tuple[Header, str]]:
    yield Header.ROUTE, reply.route
    yield Header.TIMES, reply.times
    if reply.names:
        yield Header.NAMES, names_text(reply.names)
    yield Header.LIMIT, rate_text(reply.rate)
    yield Header.BUCKET, reply.bucket
    yield Header.TXN_TOKEN, reply.token.reveal()
    yield Header.TIES, " ".join(reply.ties)
    if reply.ends_at is not None:
        yield Header.ENDS, str(reply.ends_at)
    yield Header.FACTS, facts_text(reply.facts)


def _fault_headers(reply: Fault) -> Iterator[tuple[Header, str]]:
    yield Header.REASON, reply.reason
    if reply.message:
        yield Header.MESSAGE, reply.message


def _refused_headers(reply: Refused) -> Iterator[tuple[Header, str]]:
    yield Header.STATUS, str(reply.status)
    yield Header.REASON, reply.reason
    yield Header.MESSAGE, reply.message
    yield Header.CHALLENGE, reply.challenge
    yield Header.FACTS, facts_text(reply.facts)
