"""Walk all steps, tell each as it happens, and say at the end whether every promise was kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from meshward.runtime.place.instance_file import Instance
from meshward.tour.steps import STEPS, Step, StepResult, visit


@dataclass(frozen=True, slots=True)
class Told:
    title: str
    kept: bool
    asked: str
    answered: str
    why: str

    def as_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


def walk_tour(instance: Instance, state: Path, tell: Callable[[Told], None]) -> bool:
    """Try every step, even after one that broke. True if all promises were kept."""
    shared = visit(instance, state)
    kept = True
    for title, step in STEPS:
        told = _take(title, step, shared)
        kept = kept and told.kept
        tell(told)
    return kept


def _take(title: str, step: Step, shared: Any) -> Told:
    try:
        seen: StepResult = step(shared)
    except Exception as error:  # a step that fails in any way is a broken promise, told as such
        return Told(title, False, step.__name__, f"{type(error).__name__}: {error}", "this was not promised")
    return Told(title, True, seen.asked, seen.answered, seen.why)
