"""What of a plan stands in the edge's file: the little that nginx takes from nowhere else, and no rule of it."""

from __future__ import annotations

from dataclasses import dataclass

from meshward.plan.ir import Plan
from meshward.targets.nginx.wire import counts, rate_text


@dataclass(frozen=True, slots=True)
class EdgeView:
    """What a policy can change of the edge's program."""

    listen_host: str
    listen_port: int
    hostname: str
    rates: tuple[str, ...]
    max_body: int  # bytes; the largest of any model
    longest_timeout: int  # seconds


def edge_view(plan: Plan) -> EdgeView:
    """The least program that serves `plan`."""
    models = plan.models.values()
    return EdgeView(
        plan.edge.host,
        plan.edge.port,
        plan.edge.hostname,
        rates(plan),
        max(model.max_body for model in models),
        max(model.timeout for model in models),
    )


def rates(plan: Plan) -> tuple[str, ...]:
    """Every rate that a decision may name, as nginx spells it; what nginx cannot count is left to another hop."""
    limits = (grant.limits.requests for grant in plan.grants if grant.limits and grant.limits.requests)
    return tuple(sorted({rate_text(rate) for rate in limits if counts(rate)}))
