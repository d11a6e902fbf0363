"""What a person can do about each reason code of a refusal."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from meshward.kit.reasons import Reason

_SIGN_IN = "sign in again (`meshward login`) and send the new token as `Authorization: Bearer`"
_ISSUER = "its page in docs/issuers says what a token must hold: have the issuer put it there, sign in again"
_ACCESS = "send the access token that the issuer made for this gateway, no ID token and none for another"
_GRANT = "ask for a role or a grant; `meshward explain` prints the nearest misses"
_PLAIN = "send the request in its plain form: no escapes, no `..`, no empty segments, sane headers"
_SMALLER = "send a shorter path, query and headers"
_FAULT = "a fault of meshward's own: the log of the decision service, in STATE/logs, says where"
_SLOWER = "send fewer requests from that address at once, then try again"
_CONTROL = "ask by `meshward ... --edge`, signed in as an operator whom the policy names"

REMEDIES: Mapping[Reason, str] = MappingProxyType(
    {
        Reason.HUGGINGFACE_TOKEN: "that was a Hugging Face token: send one from the organisation's issuer",
        Reason.TOKEN_TOO_LARGE: "have the issuer put fewer groups or claims into its tokens",
        Reason.TOKEN_OPAQUE: (
            "that token cannot be verified by anybody but its issuer: send a JWT of an issuer in the policy"
        ),
        Reason.TOKEN_MALFORMED: _SIGN_IN,
        Reason.TOKEN_HEADER_REFUSED: _ISSUER,
        Reason.ISSUER_UNKNOWN: "use a token of an issuer that the policy names under `issuers:`",
        Reason.TOKEN_TYPE_REFUSED: _ACCESS,
        Reason.KEY_UNKNOWN: _SIGN_IN,
        Reason.SIGNATURE_INVALID: _SIGN_IN,
        Reason.AUDIENCE_REFUSED: "get a token for this gateway: its audience must be one that the policy names",
        Reason.CLAIMS_REFUSED: _ISSUER,
        Reason.TOKEN_EXPIRED: _SIGN_IN,
        Reason.TOKEN_TIMES_REFUSED: (
            "the answer says what is wrong: if clock skew, see that NTP runs at the issuer and here, then sign in again"
        ),
        Reason.SUBJECT_REFUSED: _ISSUER,
        Reason.NO_CREDENTIALS: _SIGN_IN,
        Reason.NOT_BEARER: _SIGN_IN,
        Reason.TWO_CREDENTIALS: "send a client certificate or a token, not both",
        Reason.CERTIFICATE_REFUSED: "show a current SVID of a workload (`meshward svid`), or none and a token",
        Reason.WORKLOAD_UNKNOWN: "name the certificate's SPIFFE ID under `workloads:`",
        Reason.REVOKED: (
            "this subject, token or agent was revoked: `meshward revoke` lists who is, and takes it back"
        ),
        Reason.MODEL_UNKNOWN: "check the model's name against the policy's `models:`",
        Reason.ROUTE_UNKNOWN: "check method and path: only routes of the model's server kind exist",
        Reason.DENIED_BY_RULE: "a `deny` of the policy forbids it, whatever is granted",
        Reason.CALL_NOT_DECLARED: "name the called model under `calls:` of the one that calls",
        Reason.ACTOR_UNAUTHORIZED: (
            "use an agent that may, or ask directly; `meshward explain` names what this one lacks"
        ),
        Reason.IDENTITY_WITHOUT_ROLE: _GRANT,
        Reason.CONDITION_NOT_MET: "meet the grant's condition and try again; `meshward explain` names it",
        Reason.NO_GRANT: _GRANT,
        Reason.FAULT: _FAULT,
        Reason.AUDIT_BLIND: "records could not be kept: `meshward status`",
        Reason.DECISION_FAULT: _FAULT,
        Reason.FAULTY_QUESTION: _FAULT,
        Reason.ISSUER_KEYS_UNAVAILABLE: (
            "try again in some seconds; if it goes on, the issuer's keys cannot be fetched from this machine: the log "
            "of the decision service, in STATE/logs, says why"
        ),
        Reason.NOT_CANONICAL: _PLAIN,
        Reason.BAD_REQUEST: "send each header once and well-formed, and ask for no upgrade",
        Reason.TOKEN_IN_QUERY: "send the token as `Authorization: Bearer`; a query ends in logs, so have it revoked",
        Reason.METHOD_NOT_ALLOWED: "use the method of the route",
        Reason.CLIENT_TIMEOUT: "the request did not arrive in time: send all of it at once",
        Reason.BODY_TOO_LARGE: "send less, or raise the model's `max_body`",
        Reason.BODY_MODEL_MISSING: "put the model's name into the body's `model`",
        Reason.BODY_MODEL_OTHER: "name the URL's model in the body's `model`, or leave it out",
        Reason.CODING_UNSUPPORTED: "switch request compression off in the client",
        Reason.TARGET_TOO_LONG: _SMALLER,
        Reason.HOST_UNKNOWN: "use the host name that the edge is configured for",
        Reason.RATE_LIMITED: "wait as long as `Retry-After` says, or raise the grant's limit",
        Reason.COLD_RATE_LIMITED: _SLOWER,
        Reason.TOO_MANY_OPEN: _SLOWER,
        Reason.TOO_MANY_REFUSALS: (
            "look for a client that asks again and again for what it may not have: the records beside say what for"
        ),
        Reason.HEADERS_TOO_LARGE: _SMALLER,
        Reason.NOT_HTTPS: "use https",
        Reason.CODING_UNKNOWN: "send the body with `Content-Length`, or chunked",
        Reason.DECISION_UNAVAILABLE: "the decision service did not answer: `meshward status`",
        Reason.REVOCATIONS_UNKNOWN: "nginx could not read RUN/given/edge/revoked: any `meshward revoke` writes it anew",
        Reason.TIME_OVER: "it lasted as long as it may: ask for less at once, or raise the model's `max_duration`",
        Reason.REFUSED: _FAULT,
        Reason.GUARD_NO_TOKEN: (
            "the guard accepted no Transaction Token: if `trace` says clock skew, see that NTP runs on both machines; "
            "else look at the signing keys"
        ),
        Reason.GUARD_FORBIDDEN: (
            "the guard refused what the edge permitted, so the layers differ: `meshward status`, then apply again"
        ),
        Reason.GUARD_RATE_LIMITED: "wait, or raise the grant's limit: the guard's own is twice the edge's",
        Reason.GUARD_UNAVAILABLE: (
            "the guard did not answer: `meshward status`; one that a site file places elsewhere: see that it runs "
            "there, is reached from here, and shows a current SVID with its DNS name"
        ),
        Reason.MESH_UNAVAILABLE: (
            "the edge's own sidecar did not answer at the address that the site file names: see that it runs, and has "
            "an egress listener there for the service's port"
        ),
        Reason.GUARD_TIMEOUT: "the model's server said nothing for so long: look at it, or raise the model's `timeout`",
        Reason.GUARD_REFUSED: "the guard could not accept the request: its log, in STATE/logs, says why",
        Reason.MODEL_ANSWER_INVALID: "look at the model's server: its answer was no valid HTTP",
        Reason.WORKLOAD_REFUSED: "operators are people or programs with a token: send no certificate",
        Reason.TOO_MANY_CHANGES: "wait for changes under way to end, then try again",
        Reason.BROWSER_REFUSED: _CONTROL,
        Reason.NOT_JSON: _CONTROL,
        Reason.NOT_AN_OPERATOR: "ask to be named under `operators:`",
        Reason.TRY_AGAIN: "another change was under way: try again",
    }
)
"""One for each, in the order of `kit.reasons`."""


def remedy(reason: str) -> str:
    """What to do about `reason`; for one that is none of ours, where to look."""
    return (
        REMEDIES[Reason(reason)] if reason in set(Reason) else "`meshward status` says which part is not well"
    )
