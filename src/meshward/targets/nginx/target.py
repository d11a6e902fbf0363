"""nginx as the edge, as a target."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

from meshward.plan.ir import Plan
from meshward.targets.contract import Files, Target
from meshward.targets.nginx.capabilities import CAPABILITIES
from meshward.targets.nginx.program import render
from meshward.targets.nginx.projection import EdgeView, edge_view
from meshward.targets.nginx.settings import EdgeSettings


@dataclass(frozen=True, slots=True)
class EdgePlace:
    """Where nginx runs. What a view says stands in place of what `settings` say of the same."""

    settings: EdgeSettings
    script: str  # the text of `program.SCRIPT`


def _view(plan: Plan, _: None) -> EdgeView:
    return edge_view(plan)


def _emit(view: EdgeView, place: EdgePlace) -> Files:
    return render(replace(place.settings, **asdict(view)), place.script)


EDGE: Target[None, EdgeView, EdgePlace] = Target("nginx", CAPABILITIES, _view, _emit)
"""There is one edge: it stands for the whole plan."""
