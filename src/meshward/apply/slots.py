"""Which guard answers in which of the edge's 64 prepared slots."""

from __future__ import annotations

from collections.abc import Mapping

from meshward.kit.errors import Exit, MeshwardError
from meshward.plan.ir import Plan

SLOTS = 64


def assign_slots(plan: Plan, before: Mapping[str, int]) -> dict[str, int]:
    """A slot for every `<model>/<version>`; one that had a slot keeps it.

    Raises MeshwardError (MW3014) where there are more versions than slots.
    """
    wanted = [f"{model.name}/{version.name}" for model in plan.models.values() for version in model.versions]
    if len(wanted) > SLOTS:
        raise MeshwardError(
            "MW3014",
            f"the policy has {len(wanted)} model versions; one machine's edge has {SLOTS} slots for guards",
            "Take versions out of the policy, or run them on another machine.",
            exit_code=Exit.UNSAFE,
        )
    slots = {name: slot for name, slot in before.items() if name in wanted and 0 <= slot < SLOTS}
    free = iter(sorted(set(range(SLOTS)) - set(slots.values())))
    return {name: slots[name] if name in slots else next(free) for name in wanted}
