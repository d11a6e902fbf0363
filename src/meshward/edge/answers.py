"""What the service answers. Pure: decisions in, replies out (`replies` encodes them).

Every text is printable ASCII. nginx keeps an answer for `X-Accel-Expires` seconds and up to one more, so one
less than what is true is sent; refusals of unverified credentials and faults are never kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from meshward.callers.revocations import ties
from meshward.callers.workloads import VerifiedWorkload
from meshward.decide import reasons
from meshward.decide.types import Denial, Identity, Permit
from meshward.edge.decision_state import Served
from meshward.edge.replies import Fault, Permitted, Refused
from meshward.kit.canonical import canonical_json
from meshward.kit.names import is_name
from meshward.kit.reasons import Reason
from meshward.kit.text import to_ascii
from meshward.kit.wellknown import METADATA
from meshward.oidc.verify import VerifiedToken
from meshward.plan.ir import Model
from meshward.targets.nginx.wire import times_text
from meshward.tokens.txn import Minted

CACHE_WINDOW = 5  # seconds for which a decision may be used again

_MESSAGE = 200  # characters
_ROLES = 1000  # characters of roles that a token or a record shows


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


def permit_reply(
    caller: Caller, permit: Permit, minted: Minted, served: Served, model: Model, now: float
) -> Permitted:
    """A permit, with the token that was minted for it."""
    facts = caller.facts(
        roles=shown_roles(permit.roles),
        model=model.name,
        action=served.action,
        perm=permit.permission,
        grant=permit.pays,
        txn=minted.claims["txn"],
        tth=minted.tth,
        exp=minted.claims["exp"],
    )
    return Permitted(
        route=served.route,
        times=times_text(model.timeout, model.max_duration),
        names=served.names,
        rate=permit.limits.requests if permit.limits else None,
        bucket=bucket(permit, caller.identity),
        token=minted.token,
        ties=ties(caller.identity, caller.token.token_id),
        ends_at=caller.token.expires_at if model.on_expiry == "cut" else None,
        facts=facts,
        ttl=caller.ttl(now, permit.holds_until),
    )


def denial_reply(
    caller: Caller, denial: Denial, model: str, action: str, resource: str, now: float
) -> Refused:
    """A verified identity may not: who it is to us, what is missing, what to do."""
    facts = caller.facts(roles=shown_roles(denial.roles), model=model, action=action, perm=denial.permission)
    status = reasons.STATUS[denial.reason]
    message = sentence(denial.sentence, denial.remedy)
    challenge = ""
    if status == 403:
        challenge = _challenge(resource, "insufficient_scope", message, scope=denial.permission)
    return Refused(status, denial.reason, message, challenge, facts, caller.ttl(now, denial.holds_until))


def not_found_reply(
    caller: Caller, reason: Reason, what: str, remedy: str, now: float, **facts: str
) -> Refused:
    """What a verified identity asked for does not exist."""
    return Refused(404, reason, sentence(what, remedy), "", caller.facts(**facts), caller.ttl(now))


def unnamed_reply(caller: Caller, now: float) -> Refused:
    """By /v1 a verified identity asked for no model. nginx asks so before it reads a body: is it anybody's?"""
    text = sentence("the body names no model", "put a `model` into it, or call /m/NAME/v1")
    return Refused(400, Reason.BODY_MODEL_MISSING, text, "", caller.facts(), caller.ttl(now))


def revoked_reply(caller: Caller, resource: str, now: float) -> Refused:
    """401 for a verified identity that, or whose token or agent, was revoked."""
    text = sentence(_who_was_revoked(caller.identity), "ask the operators of this edge")
    challenge = _challenge(resource, "invalid_token", text)
    return Refused(401, Reason.REVOKED, text, challenge, caller.facts(), caller.ttl(now))


def _who_was_revoked(identity: Identity) -> str:
    who = [identity.name, *(f"the agent {actor}" for actor in identity.actors)]
    return f"{', '.join(who)} or this token was revoked"


def unauthenticated_reply(reason: Reason, message: str, resource: str, *, error: bool) -> Refused:
    """401. Without credentials a challenge names no error (RFC 6750, 3.1)."""
    text = sentence(message)
    challenge = _challenge(resource, "invalid_token" if error else None, text)
    return Refused(401, reason, text, challenge)


def forbidden_reply(reason: Reason, message: str, resource: str) -> Refused:
    """403 for a verified identity that is none of the operators."""
    text = sentence(message)
    return Refused(403, reason, text, _challenge(resource, "insufficient_scope", text))


def refusal_reply(status: int, reason: Reason, message: str) -> Refused:
    """For which nobody needs to be known, and no credential would help."""
    return Refused(status, reason, sentence(message))


def blind_reply() -> Refused:
    """Records cannot be kept. No fault, for nginx passes on no reason of a 5xx; the client's status is 503."""
    return refusal_reply(
        503,
        Reason.AUDIT_BLIND,
        "Records of requests cannot be kept just now, so this one was refused. Operator: see meshward status.",
    )


def keys_unavailable_reply() -> Fault:
    """Whether the issuer publishes the token's key cannot be known just now: nobody is told to sign in again."""
    text = (
        "The keys of the token's issuer could not be asked for just now. Wait some seconds, then try again."
    )
    return Fault(503, Reason.ISSUER_KEYS_UNAVAILABLE, sentence(text))


def resource_of(origin: str, front: str, model: str) -> str:
    """The protected resource (RFC 9728) that a request was for; says nothing about whether it exists."""
    return f"{origin}/m/{model}" if front == "m" and is_name(model) else origin


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


def sentence(what: str, remedy: str = "") -> str:
    """One line of at most 200 printable ASCII characters; what is too long loses its middle."""
    text, advice = _header_text(what).rstrip("."), _header_text(remedy).rstrip(".")
    room = _MESSAGE - len(advice) - 3
    if advice and room >= 40:
        return f"{_cut_to(text, room)}; {advice}."
    return f"{_cut_to(text, _MESSAGE - 1)}."


def _cut_to(text: str, room: int) -> str:
    return text if len(text) <= room else text[: room - 3] + "..."


def _header_text(text: str) -> str:
    return to_ascii(text).replace('"', "").replace("\\", "/")


def _challenge(resource: str, error: str | None, description: str, scope: str | None = None) -> str:
    """WWW-Authenticate (RFC 6750, 3; RFC 9728, 5.1)."""
    origin, slash, path = resource.removeprefix("https://").partition("/")
    fields = {"resource_metadata": f"https://{origin}{METADATA}{slash}{path}"}
    if scope:
        fields["scope"] = scope
    if error:
        fields |= {"error": error, "error_description": description}
    return "Bearer " + ", ".join(f'{name}="{value}"' for name, value in fields.items())
