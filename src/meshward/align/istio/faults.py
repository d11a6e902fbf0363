"""What Envoy does not take of the rules that istiod sends it: the last good configuration stays, or Envoy ends."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from meshward.align.istio.filters import owner
from meshward.align.istio.matchers import Json
from meshward.align.istio.objects import MeshObject, Ref
from meshward.align.istio.templates import template


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """`ends`: Envoy does not refuse it, it ends (terminate)."""

    ref: Ref
    why: str
    ends: bool = False


def faults(chain: Sequence[Json], policies: dict[str, MeshObject]) -> list[Fault]:
    """Each fault once; a fault of a dry run is one as well."""
    found = [
        Fault(each.ref, why, ends)
        for part in chain
        for kind in ("rules", "shadowRules")
        for name, policy in (part["typedConfig"].get(kind) or {}).get("policies", {}).items()
        for why, ends in _broken(policy)
        if (each := owner(policies, name)) is not None
    ]
    return list(dict.fromkeys(found))


def _broken(found: Any) -> Iterator[tuple[str, bool]]:
    if isinstance(found, list):
        for each in found:
            yield from _broken(each)
    if not isinstance(found, dict):
        return
    for name, each in found.items():
        if name == "pathTemplate" and template(each) is None:
            yield f"path template `{each}`", True
        elif name in ("key", "name", "prefix", "suffix") and each == "":
            yield f"an empty {name}", False
        else:
            yield from _broken(each)
