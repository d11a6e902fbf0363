"""Envoy as a guard, as a target."""

from __future__ import annotations

from dataclasses import dataclass

from meshward.targets.contract import Target
from meshward.targets.envoy.capabilities import CAPABILITIES
from meshward.targets.envoy.files import GuardFiles, GuardIdentity, render
from meshward.targets.envoy.listener import GuardSettings
from meshward.targets.envoy.projection import GuardPart, GuardView, guard_view


@dataclass(frozen=True, slots=True)
class GuardPlace:
    """How a guard runs on its machine, and what it is given beside the policy."""

    settings: GuardSettings
    identity: GuardIdentity


def _emit(view: GuardView, place: GuardPlace) -> GuardFiles:
    return render(view, place.settings, place.identity)


GUARD: Target[GuardPart, GuardView, GuardPlace, GuardFiles] = Target("envoy", CAPABILITIES, guard_view, _emit)
"""Each guard stands for one version of one model."""
