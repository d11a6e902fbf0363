"""Why a credential is not accepted: a stable reason, and a sentence for the one who sent it."""

from __future__ import annotations

from enum import StrEnum

from meshward.kit.errors import MeshwardError


class Reason(StrEnum):
    """Stable reason codes of step by step verification (docs/codes.md)."""

    HUGGINGFACE_TOKEN = "huggingface_token"  # noqa: S105
    TOO_LARGE = "token_too_large"
    OPAQUE = "token_opaque"
    MALFORMED = "token_malformed"
    HEADER = "token_header_refused"
    ISSUER = "issuer_unknown"
    TYPE = "token_type_refused"
    KEY = "key_unknown"
    SIGNATURE = "signature_invalid"
    AUDIENCE = "audience_refused"
    CLAIMS = "claims_refused"
    EXPIRED = "token_expired"
    TIMES = "token_times_refused"
    SUBJECT = "subject_refused"


class TokenRefused(Exception):
    """A credential that proves nothing. `sentence` holds no part of the credential and is printable ASCII."""

    def __init__(self, reason: Reason, sentence: str) -> None:
        super().__init__(f"{reason}: {sentence}")
        self.reason = reason
        self.sentence = sentence


class KeysUnavailable(MeshwardError):
    """An issuer's keys cannot be had or are older than allowed: our fault or its, not the caller's."""
