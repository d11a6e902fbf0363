"""What the collector is told of the policy."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from meshward.audit.keeping import KEEPING, Keeping
from meshward.plan.ir import Plan


def save_keeping(control: Path, plan: Plan) -> None:
    """Where it cannot be written it is removed: then nothing is erased, whatever was to be before."""
    try:
        KEEPING.write(control, Keeping(plan.audit.retention, plan.audit.max_disk))
    except OSError:
        with suppress(OSError):
            (control / KEEPING.name).unlink()
