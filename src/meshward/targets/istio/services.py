"""The services that versions are behind: some have one of their own, others share one and are told apart by labels."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from meshward.kit.names import dns_label
from meshward.plan.placement import MeshService
from meshward.targets.istio.projection import MeshView


@dataclass(frozen=True, slots=True)
class Backing:
    """One service, and the versions behind it: at least one, by model and version."""

    views: tuple[MeshView, ...]

    @property
    def place(self) -> MeshService:
        return self.views[0].place

    @property
    def host(self) -> str:
        return self.place.host

    @property
    def ports(self) -> tuple[int, ...]:
        return tuple(sorted({view.place.port for view in self.views}))

    @property
    def has_subsets(self) -> bool:
        """Whether its versions are told apart by the labels of their pods. Models that share pods are not."""
        models = {view.model for view in self.views}
        return len(models) == 1 and len({view.place.select for view in self.views}) > 1

    def at(self, port: int) -> tuple[MeshView, ...]:
        return tuple(view for view in self.views if view.place.port == port)

    def destination(self, view: MeshView) -> dict[str, Any]:
        """That of `view`, for a VirtualService."""
        subset = {"subset": subset_name(view)} if self.has_subsets else {}
        return {"host": self.host, **subset, "port": {"number": view.place.port}}

    def destinations(self, port: int) -> list[dict[str, Any]]:
        """All of a port by the policy's weights; `{destination, weight}` each, or one without a weight."""
        views = self.at(port)
        if not self.has_subsets or len(views) == 1:
            return [{"destination": self.destination(views[0])}]
        # Weights of which none is above nothing are no weights to Istio: whoever calls by that name shall be answered.
        shares = [view.weight for view in views] if any(view.weight for view in views) else [1] * len(views)
        return [
            {"destination": self.destination(view), "weight": share}
            for view, share in zip(views, shares, strict=True)
        ]


def subset_name(view: MeshView) -> str:
    return dns_label(f"{dns_label(view.model)}-{dns_label(view.version)}")


def backings(views: Iterable[MeshView]) -> tuple[Backing, ...]:
    """By host."""
    found: dict[str, list[MeshView]] = {}
    for view in views:
        found.setdefault(view.place.host, []).append(view)
    return tuple(Backing(tuple(found[host])) for host in sorted(found))
