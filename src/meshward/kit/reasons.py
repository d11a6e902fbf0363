"""Why a request is refused: the closed list of words that clients, logs and records get, by the hop that says them.

A word keeps its meaning for ever. What is done about a refusal hangs on the value here, never on the text. What one of
them means in a decision, `decide.reasons` says; what a person can do, `trace.reasons` and docs/cli.md.
"""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """A stable word. Read from a log it may be any text: only what is equal to one of these means it."""

    # A token that proves nothing (`oidc.verify`).
    HUGGINGFACE_TOKEN = "huggingface_token"  # noqa: S105
    TOKEN_TOO_LARGE = "token_too_large"  # noqa: S105
    TOKEN_OPAQUE = "token_opaque"  # noqa: S105
    TOKEN_MALFORMED = "token_malformed"  # noqa: S105
    TOKEN_HEADER_REFUSED = "token_header_refused"  # noqa: S105
    ISSUER_UNKNOWN = "issuer_unknown"
    TOKEN_TYPE_REFUSED = "token_type_refused"  # noqa: S105
    KEY_UNKNOWN = "key_unknown"
    SIGNATURE_INVALID = "signature_invalid"
    AUDIENCE_REFUSED = "audience_refused"
    CLAIMS_REFUSED = "claims_refused"
    TOKEN_EXPIRED = "token_expired"  # noqa: S105
    TOKEN_TIMES_REFUSED = "token_times_refused"  # noqa: S105
    SUBJECT_REFUSED = "subject_refused"

    # No credential, another one, or one too many (the decision service).
    NO_CREDENTIALS = "no_credentials"
    NOT_BEARER = "not_bearer"
    TWO_CREDENTIALS = "two_credentials"
    CERTIFICATE_REFUSED = "certificate_refused"
    WORKLOAD_UNKNOWN = "workload_unknown"
    REVOKED = "revoked"

    # A decision (`decide.reasons`).
    MODEL_UNKNOWN = "model_unknown"
    ROUTE_UNKNOWN = "route_unknown"
    DENIED_BY_RULE = "denied_by_rule"
    CALL_NOT_DECLARED = "call_not_declared"
    ACTOR_UNAUTHORIZED = "actor_unauthorized"
    IDENTITY_WITHOUT_ROLE = "identity_without_role"
    CONDITION_NOT_MET = "condition_not_met"
    NO_GRANT = "no_grant"
    FAULT = "fault"

    # Nobody could decide, or could record what was decided.
    AUDIT_BLIND = "audit_blind"
    DECISION_FAULT = "decision_fault"
    FAULTY_QUESTION = "faulty_question"
    ISSUER_KEYS_UNAVAILABLE = "issuer_keys_unavailable"

    # nginx by itself (lua/).
    NOT_CANONICAL = "not_canonical"
    BAD_REQUEST = "bad_request"
    TOKEN_IN_QUERY = "token_in_query"  # noqa: S105
    METHOD_NOT_ALLOWED = "method_not_allowed"
    CLIENT_TIMEOUT = "client_timeout"
    BODY_TOO_LARGE = "body_too_large"
    BODY_MODEL_MISSING = "body_model_missing"
    BODY_MODEL_OTHER = "body_model_other"
    CODING_UNSUPPORTED = "coding_unsupported"
    TARGET_TOO_LONG = "target_too_long"
    HOST_UNKNOWN = "host_unknown"
    RATE_LIMITED = "rate_limited"
    COLD_RATE_LIMITED = "cold_rate_limited"
    TOO_MANY_OPEN = "too_many_open"
    TOO_MANY_REFUSALS = "too_many_refusals"
    HEADERS_TOO_LARGE = "headers_too_large"
    NOT_HTTPS = "not_https"
    CODING_UNKNOWN = "coding_unknown"
    DECISION_UNAVAILABLE = "decision_unavailable"
    REVOCATIONS_UNKNOWN = "revocations_unknown"
    TIME_OVER = "time_over"  # a guard says it, too
    REFUSED = "refused"  # by the decision service, in words that nginx cannot read

    # A guard.
    GUARD_NO_TOKEN = "guard_no_token"  # noqa: S105
    GUARD_FORBIDDEN = "guard_forbidden"
    GUARD_RATE_LIMITED = "guard_rate_limited"
    GUARD_UNAVAILABLE = "guard_unavailable"
    MESH_UNAVAILABLE = "mesh_unavailable"  # the edge's own sidecar, in a guard's place
    GUARD_TIMEOUT = "guard_timeout"
    GUARD_REFUSED = "guard_refused"
    MODEL_ANSWER_INVALID = "model_answer_invalid"

    # The control API.
    WORKLOAD_REFUSED = "workload_refused"
    TOO_MANY_CHANGES = "too_many_changes"
    BROWSER_REFUSED = "browser_refused"
    NOT_JSON = "not_json"
    NOT_AN_OPERATOR = "not_an_operator"
    TRY_AGAIN = "try_again"
