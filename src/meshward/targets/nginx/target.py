"""nginx as the edge, as a target."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace

from meshward.plan.ir import Plan
from meshward.targets.contract import Target
from meshward.targets.nginx.capabilities import CAPABILITIES
from meshward.targets.nginx.program import render
from meshward.targets.nginx.projection import EdgeView, edge_view
from meshward.targets.nginx.settings import EdgeSettings


@dataclass(frozen=True, slots=True)
class EdgePlace:
    """Where nginx runs. What a view says stands in place of what `settings` say of the same."""

    settings: EdgeSettings
    lua: Mapping[str, str]  # the texts of the modules in `lua/`, by path below it


def view_in(settings: EdgeSettings) -> EdgeView:
    """What of `settings` comes from a plan."""
    return EdgeView(**{field.name: getattr(settings, field.name) for field in fields(EdgeView)})


def _project(plan: Plan, _: None) -> EdgeView:
    return edge_view(plan)


def _emit(view: EdgeView, place: EdgePlace) -> Mapping[str, bytes]:
    return render(replace(place.settings, **asdict(view)), place.lua)


EDGE: Target[None, EdgeView, EdgePlace, Mapping[str, bytes]] = Target("nginx", CAPABILITIES, _project, _emit)
"""There is one edge: it stands for the whole plan."""
