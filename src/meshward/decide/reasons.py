"""Every reason for which `decide` refuses, with the client's status, a sentence and a remedy. The list is closed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from meshward.kit.reasons import Reason


@dataclass(frozen=True, slots=True)
class Refusal:
    """`sentence` and `remedy` are templates for `str.format`; `status` is what an HTTP client is answered."""

    reason: Reason
    status: int
    sentence: str
    remedy: str


MODEL_UNKNOWN = Refusal(
    Reason.MODEL_UNKNOWN,
    404,
    "there is no model of that name here",
    "look at the spelling; models are named by the policy, and /v1 also takes their aliases",
)
DENIED_BY_RULE = Refusal(
    Reason.DENIED_BY_RULE,
    403,
    "the rule {rule} denies {permission} to {who}",
    "denies beat every grant; only a change of the rule {rule} helps",
)
CALL_NOT_DECLARED = Refusal(
    Reason.CALL_NOT_DECLARED,
    403,
    "{via} may not call {model} on anybody's behalf: it is not among its `calls`",
    "name {model} under `calls` of the model {via}",
)
ACTOR_UNAUTHORIZED = Refusal(
    Reason.ACTOR_UNAUTHORIZED,
    403,
    "the agent {actor} may not ask for {permission} on behalf of {who}: {lack}",
    "use an agent that may, ask directly, or change `agents: {actor}`",
)
IDENTITY_WITHOUT_ROLE = Refusal(
    Reason.IDENTITY_WITHOUT_ROLE,
    403,
    "{who} holds no role; {permission} asks for {lack}",
    "ask your identity team for membership, then log in again",
)
CONDITION_NOT_MET = Refusal(
    Reason.CONDITION_NOT_MET,
    403,
    "{who} holds {roles}, but the grant {grant} for {permission} asks for {lack}",
    "meet the condition and try again",
)
NO_GRANT = Refusal(
    Reason.NO_GRANT,
    403,
    "{who} holds {roles}, which gives no {permission}; the nearest grant, {grant}, lacks {lack}",
    "ask your identity team for membership, or the policy's owners for a grant",
)
NOTHING_NEAR = Refusal(
    Reason.NO_GRANT,
    403,
    "no grant gives {permission} to {who}",
    "ask the policy's owners for a grant",
)
FAULT = Refusal(
    Reason.FAULT,
    503,
    "the decision could not be made",
    "try again; if it stays so, tell the operators the request id",
)

REFUSALS: tuple[Refusal, ...] = (
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
STATUS: Mapping[Reason, int] = MappingProxyType({each.reason: each.status for each in REFUSALS})
"""The HTTP status of each reason."""
