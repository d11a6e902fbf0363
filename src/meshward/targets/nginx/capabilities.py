"""What stock nginx as an edge enforces, cannot, and does not yet: read by the docs and by coverage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["enforces", "cannot", "not yet"]


@dataclass(frozen=True, slots=True)
class Capability:
    """`reload`: whether a change needs a reload of nginx, which may lose requests on idle connections."""

    feature: str
    status: Status
    why: str
    reload: bool = False


CAPABILITIES: tuple[Capability, ...] = (
    Capability(
        "canonical request", "enforces", "one allow-list on the request line, host and method as sent"
    ),
    Capability(
        "who may call what", "enforces", "by the decision service's answer, kept for seconds per caller"
    ),
    Capability("revocation and new rules", "enforces", "a new epoch: the next request asks again"),
    Capability(
        "versions and weights", "enforces", "named by the decision, picked by the request's random id"
    ),
    Capability(
        "a guard on a prepared slot", "enforces", "its socket need not exist before a decision names it"
    ),
    Capability(
        "requests per second or minute",
        "enforces",
        "a token bucket per grant and identity",
    ),
    Capability("a rate that no decision could name before", "enforces", "a zone of its own", reload=True),
    Capability("body size per model", "enforces", "named by the decision, below the file's largest"),
    Capability(
        "the largest body, the longest timeout", "enforces", "nginx takes them from its file", reload=True
    ),
    Capability("rotation of certificates", "enforces", "files by generation, read at each handshake"),
    Capability(
        "a new root certificate", "enforces", "the trust bundle's path takes no variable", reload=True
    ),
    Capability("listener and host name", "enforces", "nginx takes them from its file", reload=True),
    Capability(
        "identity headers from outside", "enforces", "no client header goes on but four, if printable"
    ),
    Capability(
        "one model in a /v1 body", "enforces", "duplicate, escaped and differently cased keys are refused"
    ),
    Capability("digests of prompt and answer", "enforces", "SHA-256 over the bytes that went through"),
    Capability("the guard's SPIFFE ID", "cannot", "nginx compares DNS names only: the SVID carries one too"),
    Capability(
        "requests per hour or day", "cannot", "limit_req counts per second and minute: a ledger's work"
    ),
    Capability(
        "a body larger than memory", "cannot", "a body in a file has no digest: 413 above the largest size"
    ),
    Capability(
        "an end to a stream that the model cut",
        "cannot",
        "the client sees a broken transfer, the log no `last`",
    ),
    Capability(
        "a model's timeout below the longest", "cannot", "nginx takes one from its file: the guard keeps it"
    ),
    Capability(
        "client certificates", "enforces", "verified by nginx, then by the decision; in the cache's key"
    ),
    Capability("trusted proxies", "not yet", "the peer's address is the client's"),
    Capability("HTTP/2 from clients", "not yet", "HTTP/1.1 only"),
    Capability("shared answers", "not yet", "every request reaches its model"),
)
