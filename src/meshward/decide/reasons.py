"""Every reason for which `decide` refuses: a stable code, the client's status, a sentence and a remedy.

The catalogue is closed: docs/codes.md is made from it, and a code is never reused with another meaning.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reason:
    """`sentence` and `remedy` are templates for `str.format`; `status` is what an HTTP client is answered."""

    code: str
    status: int
    sentence: str
    remedy: str


MODEL_UNKNOWN = Reason(
    "model_unknown",
    404,
    "there is no model of that name here",
    "look at the spelling; models are named by the policy, and /v1 also takes their aliases",
)
DENIED_BY_RULE = Reason(
    "denied_by_rule",
    403,
    "the rule {rule} denies {permission} to {who}",
    "denies beat every grant; only a change of the rule {rule} helps",
)
CALL_NOT_DECLARED = Reason(
    "call_not_declared",
    403,
    "{via} may not call {model} on anybody's behalf: it is not among its `calls`",
    "name {model} under `calls` of the model {via}",
)
ACTOR_UNAUTHORIZED = Reason(
    "actor_unauthorized",
    403,
    "the agent {actor} may not ask for {permission} on behalf of {who}: {lack}",
    "use an agent that may, ask directly, or change `agents: {actor}`",
)
IDENTITY_WITHOUT_ROLE = Reason(
    "identity_without_role",
    403,
    "{who} holds no role; {permission} asks for {lack}",
    "ask your identity team for membership, then log in again",
)
CONDITION_NOT_MET = Reason(
    "condition_not_met",
    403,
    "{who} holds {roles}, but the grant {grant} for {permission} asks for {lack}",
    "meet the condition and try again",
)
NO_GRANT = Reason(
    "no_grant",
    403,
    "{who} holds {roles}, which gives no {permission}; the nearest grant, {grant}, lacks {lack}",
    "ask your identity team for membership, or the policy's owners for a grant",
)
NOTHING_NEAR = Reason(
    "no_grant",
    403,
    "no grant gives {permission} to {who}",
    "ask the policy's owners for a grant",
)
FAULT = Reason(
    "fault",
    503,
    "the decision could not be made",
    "try again; if it stays so, tell the operators the request id",
)

REASONS: tuple[Reason, ...] = (
    MODEL_UNKNOWN,
    DENIED_BY_RULE,
    CALL_NOT_DECLARED,
    ACTOR_UNAUTHORIZED,
    IDENTITY_WITHOUT_ROLE,
    CONDITION_NOT_MET,
    NO_GRANT,
    NOTHING_NEAR,
    FAULT,
)
STATUS: dict[str, int] = {reason.code: reason.status for reason in REASONS}
"""The HTTP status of each reason code."""
