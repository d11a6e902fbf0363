"""The issuers' keys that outlive a restart: written to STATE, and handed to the decision service, by the supervisor."""

from __future__ import annotations

from meshward.apply.hop_files import Owner
from meshward.oidc.kept_keys import HANDED, KEPT, KeptKeys
from meshward.runtime.machine import Machine


def save_issuer_keys(machine: Machine, kept: KeptKeys) -> None:
    """To STATE, and to the decision service for its next start. Raises OSError."""
    KEPT.write(machine.state.path, kept)
    hand_issuer_keys(machine, kept)


def hand_issuer_keys(machine: Machine, kept: KeptKeys) -> None:
    """To the decision service. Raises OSError."""
    Owner(machine.decide).write(machine.run.decide_given / HANDED.name, HANDED.encode(kept))
