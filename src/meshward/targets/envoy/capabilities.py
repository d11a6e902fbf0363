"""What a guard made of stock Envoy enforces, what it cannot, and what this emitter does not do yet.

Whoever proves coverage reads this table; docs/ prints it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Standing = Literal["enforces", "cannot", "not yet"]


@dataclass(frozen=True, slots=True)
class Capability:
    feature: str
    standing: Standing
    how: str  # enforces: by what; otherwise: why, and which hop does it


CAPABILITIES: tuple[Capability, ...] = (
    Capability("caller", "enforces", "mTLS, TLS 1.3, exactly one SPIFFE ID, no session resumption"),
    Capability(
        "token", "enforces", "jwt_authn: signature, issuer, audience, and at most 60 s (and 5 s skew) left"
    ),
    Capability(
        "permission", "enforces", "RBAC per exact method and path: permission, scope and model of the token"
    ),
    Capability(
        "requests limit",
        "enforces",
        "a net of twice the limit per subject and grant, full again after new rules",
    ),
    Capability("max_body", "enforces", "the body is buffered up to the model's size; beyond it 413"),
    Capability("timeout", "enforces", "the longest silence of a request; its whole length has no limit"),
    Capability(
        "credential", "enforces", "the key that a server demands: credential_injector, from a watched file"
    ),
    Capability(
        "replicas",
        "enforces",
        "one endpoint each; who breaks off three times is left out; no POST is sent twice",
    ),
    Capability("health", "enforces", "asked each second where there is another server or version to go to"),
    Capability(
        "log", "enforces", "one JSON line per request with the verified claims; a full disk stops nothing"
    ),
    Capability(
        "token type", "cannot", "jwt_authn ignores `typ` and `crit`: the signing key must sign nothing else"
    ),
    Capability("token age", "cannot", "`iat` is not read: the minter alone bounds a token's whole life"),
    Capability("replay", "cannot", "one Transaction Token serves its decision's whole window, by design"),
    Capability("roles", "cannot", "the edge resolves roles and conditions to the token's one permission"),
    Capability(
        "tokens limit", "cannot", "a guard counts requests; tokens, hours and days are a ledger's work"
    ),
    Capability("revocation", "cannot", "a live token (66 s at most) and a running stream go on"),
    Capability(
        "body digests", "not yet", "Lua, for `sealed` and `capture`; until then the edge's, marked as told"
    ),
    Capability("calls", "not yet", "only the edge may call; a calling model needs its own rule for `scope`"),
    Capability(
        "https upstream", "not yet", "hosted endpoints; today a unix socket or an IP address and port"
    ),
)
