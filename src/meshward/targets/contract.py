"""What a target is: a kind of hop that meshward knows how to write, and what it promises about itself.

A target is one frozen value: a name, a total table of what it can, cannot and does not yet do, what a plan asks of one
hop of its kind, and that as files. Both functions are pure. `plan.coverage` proves that what the table leaves another
hop enforces; `emit` is given only what this one enforces, so it cannot forget to say what it left.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from meshward.plan.features import Residue, Table, residue
from meshward.plan.ir import Plan

Part = TypeVar("Part")  # which hop: a version of a model; None where there is but one
View = TypeVar("View")  # what that hop enforces of a plan
Place = TypeVar(
    "Place"
)  # where it runs, and what it is given beside the policy: directories, keys, certificates

Files = Mapping[str, bytes]
"""By path, below the hop's own directory."""


@dataclass(frozen=True, slots=True)
class Projection(Generic[View]):
    """A plan as one hop sees it, and what of the plan's requirements it leaves to the other hops of its paths."""

    enforced: View
    residue: tuple[Residue, ...]


@dataclass(frozen=True, slots=True)
class Target(Generic[Part, View, Place]):
    """`view` raises KeyError for a part that the plan has not; `emit` MeshwardError for what its hop cannot be told."""

    name: str
    table: Table
    view: Callable[[Plan, Part], View]
    emit: Callable[[View, Place], Files]

    def project(self, plan: Plan, part: Part) -> Projection[View]:
        """What of `plan` the hop for `part` enforces, and what it leaves."""
        return Projection(self.view(plan, part), residue(self.table, plan.requires))
