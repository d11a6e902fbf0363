"""Which guard answers in which of the edge's 64 prepared slots."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping

from meshward.kit import codes
from meshward.kit.errors import MeshwardError
from meshward.plan.ir import Plan

SLOTS = 64


def assign_slots(
    plan: Plan, before: Mapping[str, int], taken: Iterable[int] = (), elsewhere: Container[str] = ()
) -> dict[str, int]:
    """A slot for every `<model>/<version>` but those `elsewhere`; one that had a slot keeps it. `taken` are given to
    nobody else.

    Raises MeshwardError (MW3014) where there are more versions than slots.
    """
    every = [f"{model.name}/{version.name}" for model in plan.models.values() for version in model.versions]
    wanted = [name for name in every if name not in elsewhere]
    slots = {name: slot for name, slot in before.items() if name in wanted and 0 <= slot < SLOTS}
    free = sorted(set(range(SLOTS)) - set(slots.values()) - set(taken))
    if len(wanted) > len(slots) + len(free):
        raise MeshwardError(
            codes.TOO_FEW_SLOTS,
            f"the policy needs {len(wanted)} guards; one machine's edge has {SLOTS} slots, "
            f"{len(slots) + len(free)} of them free or in use by the same",
        )
    following = iter(free)
    return {name: slots[name] if name in slots else next(following) for name in wanted}
