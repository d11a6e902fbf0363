"""What the collector is told of the policy."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from meshward.audit.anchor import ANCHOR, Mark
from meshward.audit.keeping import KEEPING, Keeping
from meshward.kit.errors import MeshwardError
from meshward.plan.ir import Plan


def save_keeping(control: Path, plan: Plan, once: Mark | None) -> None:
    """`once`: how far the records were.

    Where it cannot be written it is removed: then nothing is erased, whatever was to be before.
    """
    try:
        KEEPING.write(control, Keeping(plan.audit.retention, plan.audit.max_disk, once))
    except OSError:
        with suppress(OSError):
            (control / KEEPING.name).unlink()


def mark_of_records(state: Path, before: Mark | None, *, reckoned: bool = False) -> Mark | None:
    """How far the records are by now; never less far than `before`.

    `reckoned`: the collector has just looked at its store, so another one than `before` was noted as that.
    """
    try:
        anchor = ANCHOR.read(state)
    except MeshwardError:
        return before
    if anchor is None or before is None:
        return anchor.mark if anchor else before
    if anchor.store != before.store:
        return anchor.mark if reckoned else before
    return max(anchor.mark, before, key=lambda mark: mark.commits)
