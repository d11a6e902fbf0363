"""What a target is: a kind of hop that meshward knows how to write, and what it promises about itself.

A target is one frozen value: a name, a total table of what it can, cannot and does not yet do, what a hop of its kind
enforces of a plan, and that as files. Both functions are pure. What the table leaves of a plan, its residue
(`plan.features.residue`), is the same for every hop of the kind: `plan.coverage` proves that another hop of each path
enforces it. `emit` is given only what this hop enforces, so nothing else of the policy can reach it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from meshward.plan.features import Table
from meshward.plan.ir import Plan

Part = TypeVar("Part")  # which hop: a version of a model; None where there is but one
View = TypeVar("View")  # what that hop enforces of a plan
Place = TypeVar(
    "Place"
)  # where it runs, and what it is given beside the policy: directories, keys, certificates
Files = TypeVar("Files")  # what is written into the hop's directory


@dataclass(frozen=True, slots=True)
class Target(Generic[Part, View, Place, Files]):
    """Raise: `project` KeyError for a part that the plan has not; `emit` MeshwardError for what its hop cannot take."""

    name: str
    table: Table
    project: Callable[[Plan, Part], View]
    emit: Callable[[View, Place], Files]
