"""Why a credential is not accepted: a stable reason, and a sentence for the one who sent it."""

from __future__ import annotations

from meshward.kit.errors import MeshwardError
from meshward.kit.reasons import Reason


class TokenRefused(Exception):
    """A credential that proves nothing. `sentence` holds no part of the credential and is printable ASCII."""

    def __init__(self, reason: Reason, sentence: str) -> None:
        super().__init__(f"{reason}: {sentence}")
        self.reason = reason
        self.sentence = sentence


class KeysUnavailable(MeshwardError):
    """An issuer's keys cannot be had or are older than allowed: our fault or its, not the caller's."""
