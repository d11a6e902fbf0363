"""What differs in meaning, through which object."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from meshward.align.istio.objects import Ref
from meshward.kit.codes import Code

_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Finding:
    """`what`: who could reach what, or cannot. `ref`: the object that makes it so; None where one is missing.

    `models`: the versions that it concerns, as `<model>/<version>`; empty: all of them.
    """

    code: Code
    what: str
    ref: Ref | None = None
    models: tuple[str, ...] = ()
    remedy: str = ""

    @property
    def order(self) -> tuple[str, str, str, str, str]:
        ref = self.ref or Ref("", "", "")
        return (self.code.number, ref.namespace, ref.kind, ref.name, self.what)

    def as_json(self) -> dict[str, Any]:
        found = self.ref
        named = {"kind": found.kind, "namespace": found.namespace, "name": found.name} if found else None
        return {
            "code": self.code.number,
            "object": named,
            "where": (found.place or None) if found else None,
            "message": self.what,
            "models": list(self.models),
            "remedy": self.remedy or self.code.remedy,
        }

    def line(self) -> str:
        """For people: what, of which models, through what."""
        shown = ", ".join(self.models[:_SHOWN])
        more = f" and {len(self.models) - _SHOWN} more" if len(self.models) > _SHOWN else ""
        of = f"{shown}{more}: " if self.models else ""
        through = f" (through {self.ref})" if self.ref else ""
        return f"{of}{self.what}{through}"


def merged(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """In order; what one object does to several models is one finding."""
    found: dict[tuple[str, Ref | None, str], Finding] = {}
    for each in findings:
        key = (each.code.number, each.ref, each.what)
        known = found.get(key)
        models = (*known.models, *each.models) if known else each.models
        found[key] = replace(each, models=tuple(sorted(set(models))))
    return tuple(sorted(found.values(), key=lambda each: each.order))
