"""Between two revisions, while guards go from one to the other, a permit must hold under both.

So no state in between permits what neither revision does, whichever guard has arrived already.
"""

from __future__ import annotations

from dataclasses import replace

from meshward.decide import reasons
from meshward.decide.decide import Decider
from meshward.decide.types import Decision, Denial, Identity, Permit, Request
from meshward.plan.ir import Plan
from meshward.policy.values import Route


def decide_between(
    permit: Permit, now: Decider, following: Decider, identity: Identity, request: Request, route: Route
) -> Decision:
    """`permit`, which `now` gave, if `following` gives it for the same `route` to the same identity.

    Else a denial that holds for no time: the switch takes milliseconds.
    """
    model = following.plan.models.get(request.model)
    same = model is not None and model.action_of(route.method, route.path) == request.action
    if not same or not _known_alike(now.plan, following.plan, identity):
        return _withheld(permit, request)
    decision = following.decide(identity, request)
    if isinstance(decision, Permit):
        return permit if decision.holds_until is None else _sooner(permit, decision.holds_until)
    return replace(decision, holds_until=request.at)


def _known_alike(now: Plan, following: Plan, identity: Identity) -> bool:
    """Whether both plans believe the same of where this identity comes from."""
    issuer, workload = identity.issuer or "", identity.workload or ""
    return (
        now.issuers.get(issuer) == following.issuers.get(issuer)
        and now.workloads.get(workload) == following.workloads.get(workload)
        and all(now.agents.get(actor) == following.agents.get(actor) for actor in identity.actors)
    )


def _sooner(permit: Permit, until: int) -> Permit:
    return replace(
        permit, holds_until=until if permit.holds_until is None else min(until, permit.holds_until)
    )


def _withheld(permit: Permit, request: Request) -> Denial:
    nothing = reasons.NOTHING_NEAR
    words = {"permission": permit.permission, "who": "this identity"}
    sentence, remedy = nothing.sentence.format_map(words), nothing.remedy.format_map(words)
    return Denial(permit.permission, nothing.reason, sentence, remedy, (), permit.roles, request.at)
