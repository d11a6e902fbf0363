"""What the service says to nginx: headers, and nothing else. Pure: decisions in, header lines out.

Every value is printable ASCII. nginx keeps an answer for `X-Accel-Expires` seconds and up to one more, so one
less than what is true is sent; refusals of unverified credentials and faults are never kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from meshward.callers.revocations import ties
from meshward.callers.workloads import VerifiedWorkload
from meshward.decide import reasons
from meshward.decide.types import Denial, Identity, Permit
from meshward.kit.canonical import canonical_json
from meshward.kit.names import is_name
from meshward.kit.strict import encode
from meshward.kit.text import plain
from meshward.kit.wellknown import METADATA
from meshward.oidc.verify import VerifiedToken
from meshward.plan.ir import Limits, Model
from meshward.targets.nginx.rates import nginx_rate
from meshward.tokens.txn import Minted

CACHE_WINDOW = 5  # seconds for which a decision may be used again

_MESSAGE = 200  # characters
_ROLES = 1000  # characters of roles that a token or a record shows

Headers = list[tuple[bytes, bytes]]


class Answer(NamedTuple):
    """HTTP status and headers of the service's own answer; there is no body."""

    status: int
    headers: Headers


@dataclass(frozen=True, slots=True)
class Caller:
    """A verified identity, by which credential, and under which revision it asks."""

    identity: Identity
    token: VerifiedToken | VerifiedWorkload
    revision: int

    def facts(self, **more: Any) -> dict[str, Any]:
        return {"sub": self.identity.name, **self.token.proof, "rev": str(self.revision)} | more

    def ttl(self, now: float, holds_until: int | None = None) -> int:
        """Whole seconds for which nginx may keep an answer about this caller."""
        ends = [CACHE_WINDOW, self.token.expires_at - now]
        if holds_until is not None:
            ends.append(holds_until - now)
        return max(int(min(ends)) - 1, 0)


def permitted(
    caller: Caller, permit: Permit, minted: Minted, route: bytes, model: Model, action: str, now: float
) -> Answer:
    """A permit: everything that nginx needs for this request and, while it may keep it, for the next ones."""
    facts = caller.facts(
        roles=shown_roles(permit.roles),
        model=model.name,
        action=action,
        perm=permit.permission,
        grant=permit.pays,
        txn=minted.claims["txn"],
        tth=minted.tth,
        exp=minted.claims["exp"],
    )
    headers = [
        (b"x-mw-route", route),
        (b"x-mw-limit", rate_text(permit.limits).encode()),
        (b"x-mw-bucket", bucket(permit, caller.identity).encode()),
        (b"x-mw-txn-token", minted.token.reveal().encode()),
        (b"x-mw-ties", " ".join(ties(caller.identity, caller.token.token_id)).encode()),
        *_ends(caller, model),
        (b"x-mw-facts", facts_text(facts)),
        _expires(caller.ttl(now, permit.holds_until)),
    ]
    return Answer(200, headers)


def _ends(caller: Caller, model: Model) -> Headers:
    """When a running answer is to be ended, where the model ends them with the credential."""
    return [(b"x-mw-ends", str(caller.token.expires_at).encode())] if model.on_expiry == "cut" else []


def denied(caller: Caller, denial: Denial, model: str, action: str, resource: str, now: float) -> Answer:
    """A verified identity may not: who it is to us, what is missing, what to do."""
    facts = caller.facts(roles=shown_roles(denial.roles), model=model, action=action, perm=denial.permission)
    status = reasons.STATUS[denial.reason]
    message = sentence(denial.sentence, denial.remedy)
    challenge = ""
    if status == 403:
        challenge = _challenge(resource, "insufficient_scope", message, scope=denial.permission)
    return _refusal(status, denial.reason, message, challenge, facts, caller.ttl(now, denial.holds_until))


def not_found(caller: Caller, reason: str, what: str, remedy: str, now: float, **facts: str) -> Answer:
    """What a verified identity asked for does not exist."""
    return _refusal(404, reason, sentence(what, remedy), "", caller.facts(**facts), caller.ttl(now))


def revoked(caller: Caller, resource: str, now: float) -> Answer:
    """401 for a verified identity that, or whose token or agent, was revoked."""
    text = sentence(_who_was_revoked(caller.identity), "ask the operators of this edge")
    challenge = _challenge(resource, "invalid_token", text)
    return _refusal(401, "revoked", text, challenge, caller.facts(), caller.ttl(now))


def _who_was_revoked(identity: Identity) -> str:
    who = [identity.name, *(f"the agent {actor}" for actor in identity.actors)]
    return f"{', '.join(who)} or this token was revoked"


def unauthenticated(reason: str, message: str, resource: str, *, error: bool) -> Answer:
    """401. Without credentials a challenge names no error (RFC 6750, 3.1)."""
    text = sentence(message)
    challenge = _challenge(resource, "invalid_token" if error else None, text)
    return _refusal(401, reason, text, challenge, None, 0)


def forbidden(reason: str, message: str, resource: str) -> Answer:
    """403 for a verified identity that is none of the operators."""
    text = sentence(message)
    return _refusal(403, reason, text, _challenge(resource, "insufficient_scope", text), None, 0)


def fault(status: int, reason: str) -> Answer:
    """Not the caller's fault. nginx answers for itself; the reason is for its log and for people."""
    return Answer(status, [(b"x-mw-reason", reason.encode()), _expires(0)])


def blind() -> Answer:
    """Records cannot be kept. As a refusal, for nginx passes on no reason of a 5xx; the client's status is 503."""
    sentence = (
        "Records of requests cannot be kept just now, so this one was refused. Operator: see meshward status."
    )
    return _refusal(503, "audit_blind", sentence, "", None, 0)


def resource_of(origin: str, front: str, model: str) -> str:
    """The protected resource (RFC 9728) that a request was for; says nothing about whether it exists."""
    return f"{origin}/m/{model}" if front == "m" and is_name(model) else origin


def rate_text(limits: Limits | None) -> str:
    """The limit of requests as nginx spells it, or nothing. Raises ValueError for a rate that nginx cannot count."""
    return "" if limits is None or limits.requests is None else nginx_rate(limits.requests)


def bucket(permit: Permit, identity: Identity) -> str:
    """32 hex digits that name who is counted together: an identity, a grant's users, or an attribute's.

    Those who lack the attribute share one bucket: absence is no way to a limit of one's own.
    """
    per = permit.limits.per if permit.limits else "identity"
    who = {"identity": identity.name, "grant": None}.get(per, identity.attributes.get(per))
    return hashlib.sha256(canonical_json([permit.pays, per, who]).encode()).hexdigest()[:32]


def shown_roles(roles: Sequence[str]) -> list[str]:
    """`roles`, or as many as fit into a header, and then `+<how many more>`, which is no role's name."""
    shown: list[str] = []
    room = _ROLES
    for role in roles:
        room -= len(role)
        if room < 0:
            return [*shown, f"+{len(roles) - len(shown)}"]
        shown.append(role)
    return shown


def facts_text(facts: dict[str, Any]) -> bytes:
    return encode(canonical_json(facts).encode()).encode()


def sentence(what: str, remedy: str = "") -> str:
    """One line of at most 200 printable ASCII characters; what is too long loses its middle."""
    text, advice = _plain(what).rstrip("."), _plain(remedy).rstrip(".")
    room = _MESSAGE - len(advice) - 3
    if advice and room >= 40:
        return f"{_cut(text, room)}; {advice}."
    return f"{_cut(text, _MESSAGE - 1)}."


def _cut(text: str, room: int) -> str:
    return text if len(text) <= room else text[: room - 3] + "..."


def _plain(text: str) -> str:
    return plain(text).replace('"', "").replace("\\", "/")


def _challenge(resource: str, error: str | None, description: str, scope: str | None = None) -> str:
    """WWW-Authenticate (RFC 6750, 3; RFC 9728, 5.1)."""
    origin, slash, path = resource.removeprefix("https://").partition("/")
    fields = {"resource_metadata": f"https://{origin}{METADATA}{slash}{path}"}
    if scope:
        fields["scope"] = scope
    if error:
        fields |= {"error": error, "error_description": description}
    return "Bearer " + ", ".join(f'{name}="{value}"' for name, value in fields.items())


def _refusal(
    status: int, reason: str, message: str, challenge: str, facts: dict[str, Any] | None, ttl: int
) -> Answer:
    """nginx's auth_request passes on 401 and 403 only: the client's status travels in a header."""
    headers = [
        (b"x-mw-status", str(status).encode()),
        (b"x-mw-reason", reason.encode()),
        (b"x-mw-message", message.encode()),
        (b"x-mw-challenge", challenge.encode()),
        (b"x-mw-facts", b"" if facts is None else facts_text(facts)),
        _expires(ttl),
    ]
    return Answer(401 if status == 401 else 403, headers)


def _expires(ttl: int) -> tuple[bytes, bytes]:
    return b"x-accel-expires", str(ttl).encode()
