"""What a person can do about each reason code of a refusal."""

from __future__ import annotations

from meshward.kit.reasons import Reason

_SIGN_IN = "sign in again (`meshward login`) and send the new token as `Authorization: Bearer`"
_GRANT = "ask for a role or a grant; `meshward explain` prints the nearest misses"
_PLAIN = "send the request in its plain form: no escapes, no `..`, no empty segments, sane headers"

_REMEDIES: dict[str, str] = {
    Reason.NO_CREDENTIALS: _SIGN_IN,
    Reason.NOT_BEARER: _SIGN_IN,
    Reason.HUGGINGFACE_TOKEN: "that was a Hugging Face token: send one from the organisation's issuer",
    Reason.TOKEN_OPAQUE: (
        "that token cannot be verified by anybody but its issuer: send a JWT of an issuer in the policy"
    ),
    Reason.CERTIFICATE_REFUSED: "show a current SVID of a workload (`meshward svid`), or none and a token",
    Reason.WORKLOAD_UNKNOWN: "name the certificate's SPIFFE ID under `workloads:`",
    Reason.TWO_CREDENTIALS: "send a client certificate or a token, not both",
    Reason.TOKEN_EXPIRED: _SIGN_IN,
    Reason.TOKEN_MALFORMED: _SIGN_IN,
    Reason.REVOKED: "this subject, token or agent was revoked: `meshward revoke` lists who is, and takes it back",
    Reason.REVOCATIONS_UNKNOWN: "nginx could not read RUN/edge/revoked: any `meshward revoke` writes it anew",
    Reason.SIGNATURE_INVALID: _SIGN_IN,
    Reason.AUDIENCE_REFUSED: "get a token for this gateway: its audience must be one that the policy names",
    Reason.ISSUER_UNKNOWN: "use a token of an issuer that the policy names under `issuers:`",
    Reason.ISSUER_KEYS_UNAVAILABLE: "the issuer's keys cannot be fetched: `meshward doctor`",
    Reason.MODEL_UNKNOWN: "check the model's name against the policy's `models:`",
    Reason.ROUTE_UNKNOWN: "check method and path: only routes of the model's server kind exist",
    Reason.NO_GRANT: _GRANT,
    Reason.IDENTITY_WITHOUT_ROLE: _GRANT,
    Reason.CONDITION_NOT_MET: "meet the grant's condition and try again; `meshward explain` names it",
    Reason.DENIED_BY_RULE: "a `deny` of the policy forbids it, whatever is granted",
    Reason.NOT_CANONICAL: _PLAIN,
    Reason.HOST_UNKNOWN: "use the host name that the edge is configured for",
    Reason.METHOD_NOT_ALLOWED: "use the method of the route",
    Reason.BODY_TOO_LARGE: "send less, or raise the model's `max_body`",
    Reason.BODY_MODEL_MISSING: "put the model's name into the body's `model`",
    Reason.RATE_LIMITED: "wait as long as `Retry-After` says, or raise the grant's limit",
    Reason.DECISION_UNAVAILABLE: "the decision service did not answer: `meshward status`",
    Reason.AUDIT_BLIND: "records could not be kept: `meshward status`",
    Reason.GUARD_UNAVAILABLE: "the guard did not answer: `meshward status`",
    Reason.GUARD_NO_TOKEN: "the guard accepted no Transaction Token: look at clocks and signing keys",
    Reason.GUARD_FORBIDDEN: "the guard refused what the edge permitted, so the layers differ: `meshward doctor`",
    Reason.GUARD_RATE_LIMITED: "wait, or raise the grant's limit: the guard's own is twice the edge's",
}


def remedy(reason: str) -> str:
    """What to do about `reason`; for one that is not in the table, where to look."""
    return _REMEDIES.get(reason, "`meshward doctor` looks for the cause")
