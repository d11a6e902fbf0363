"""What a person can do about each reason code of a refusal."""

from __future__ import annotations

_SIGN_IN = "sign in again (`meshward login`) and send the new token as `Authorization: Bearer`"
_GRANT = "ask for a role or a grant; `meshward explain` prints the nearest misses"
_PLAIN = "send the request in its plain form: no escapes, no `..`, no empty segments, sane headers"

_REMEDIES = {
    "no_credentials": _SIGN_IN,
    "not_bearer": _SIGN_IN,
    "huggingface_token": "that was a Hugging Face token: send one from the organisation's issuer",
    "token_opaque": "that token cannot be verified by anybody but its issuer: send a JWT of an issuer in the policy",
    "certificate_refused": "show a current SVID of a workload (`meshward svid`), or none and a token",
    "workload_unknown": "name the certificate's SPIFFE ID under `workloads:`",
    "two_credentials": "send a client certificate or a token, not both",
    "token_expired": _SIGN_IN,
    "token_malformed": _SIGN_IN,
    "revoked": "this subject, token or agent was revoked: `meshward revoke` lists who is, and takes it back",
    "revocations_unknown": "nginx could not read RUN/edge/revoked: any `meshward revoke` writes it anew",
    "signature_invalid": _SIGN_IN,
    "audience_refused": "get a token for this gateway: its audience must be one that the policy names",
    "issuer_unknown": "use a token of an issuer that the policy names under `issuers:`",
    "issuer_keys_unavailable": "the issuer's keys cannot be fetched: `meshward doctor`",
    "model_unknown": "check the model's name against the policy's `models:`",
    "route_unknown": "check method and path: only routes of the model's server kind exist",
    "no_grant": _GRANT,
    "identity_without_role": _GRANT,
    "condition_not_met": "meet the grant's condition and try again; `meshward explain` names it",
    "denied_by_rule": "a `deny` of the policy forbids it, whatever is granted",
    "not_canonical": _PLAIN,
    "host_unknown": "use the host name that the edge is configured for",
    "method_not_allowed": "use the method of the route",
    "body_too_large": "send less, or raise the model's `max_body`",
    "body_model_missing": "put the model's name into the body's `model`",
    "rate_limited": "wait as long as `Retry-After` says, or raise the grant's limit",
    "decision_unavailable": "the decision service did not answer: `meshward status`",
    "audit_blind": "records could not be kept: `meshward status`",
    "guard_unavailable": "the guard did not answer: `meshward status`",
    "guard_no_token": "the guard accepted no Transaction Token: look at clocks and signing keys",
    "guard_forbidden": "the guard refused what the edge permitted, so the layers differ: `meshward doctor`",
    "guard_rate_limited": "wait, or raise the grant's limit: the guard's own is twice the edge's",
}


def remedy(reason: str) -> str:
    """What to do about `reason`; for one that is not in the table, where to look."""
    return _REMEDIES.get(reason, "`meshward doctor` looks for the cause")
