"""The issuers' keys that outlive a restart: written to STATE, and handed to the decision service, by the supervisor."""

from __future__ import annotations

from pathlib import Path

import structlog

from meshward.apply.hop_files import Owner
from meshward.kit.errors import MeshwardError
from meshward.oidc.kept_keys import HANDED, KEPT, NONE_KEPT, KeptKeys
from meshward.runtime.machine import Machine

log = structlog.get_logger(__name__)


def save_issuer_keys(machine: Machine, kept: KeptKeys) -> None:
    """To STATE, and to the decision service for its next start. Raises OSError."""
    KEPT.write(machine.state.path, kept)
    hand_issuer_keys(machine, kept)


def hand_issuer_keys(machine: Machine, kept: KeptKeys) -> None:
    """To the decision service. Raises OSError."""
    Owner(machine.decide).write(machine.run.decide_given / HANDED.name, HANDED.encode(kept))


def load_issuer_keys(state: Path) -> KeptKeys:
    """What STATE has; what cannot be used is said, and not used: the issuers themselves are asked anyway."""
    try:
        return KEPT.read(state) or NONE_KEPT
    except MeshwardError as error:
        log.error("kept_keys_not_taken", code=error.code.number, why=error.message, remedy=error.remedy)
        return NONE_KEPT
