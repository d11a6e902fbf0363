"""The catalogue of diagnostic codes: each number once, with title, general remedy and exit code.

Say `codes.CONFLICT` where it is raised, and where something is done about it. docs/codes.md is made from this. A number
that was given up is never used again.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType, ModuleType

from meshward.kit.codes import (
    alignment,
    cluster,
    commands,
    coverage,
    data_plane,
    identity,
    mesh,
    policy,
    records,
)
from meshward.kit.codes.alignment import *
from meshward.kit.codes.cluster import *
from meshward.kit.codes.code import Code as Code
from meshward.kit.codes.commands import *
from meshward.kit.codes.coverage import *
from meshward.kit.codes.data_plane import *
from meshward.kit.codes.identity import *
from meshward.kit.codes.mesh import *
from meshward.kit.codes.policy import *
from meshward.kit.codes.records import *


def _of(family: ModuleType) -> tuple[Code, ...]:
    return tuple(value for value in vars(family).values() if isinstance(value, Code))


FAMILIES: Mapping[str, tuple[Code, ...]] = MappingProxyType(
    {
        "Policy": _of(policy),
        "Commands": _of(commands),
        "Coverage: what a layer here does not do": _of(coverage),
        "Identity": _of(identity),
        "Data plane and processes": _of(data_plane),
        "Records": _of(records),
        "Sites and meshes": _of(mesh),
        "Clusters": _of(cluster),
        "What runs in a mesh, and what it means": _of(alignment),
    }
)
CATALOGUE: Mapping[str, Code] = MappingProxyType(
    {code.number: code for family in FAMILIES.values() for code in family}
)


def decode(number: object) -> Code:
    """The code that another program names; `UNKNOWN_CODE` for what this version does not know."""
    known = CATALOGUE.get(number) if isinstance(number, str) else None
    return known or data_plane.UNKNOWN_CODE
