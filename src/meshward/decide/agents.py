"""What is left of a subject's rights when agents act for it: never more than each of them may use."""

from __future__ import annotations

from meshward.decide.clauses import Case, all_met, same_clauses
from meshward.kit.text import join_words
from meshward.plan.ir import Agent


def narrow_roles(roles: frozenset[str], case: Case) -> frozenset[str]:
    """The subject's roles for which every agent in the chain may act."""
    for name in case.identity.actors:
        agent = case.plan.agents.get(name)
        roles &= frozenset(agent.acts_for) if agent else frozenset()
    return roles


def refusal(roles: frozenset[str], case: Case) -> tuple[str, str] | None:
    """The first agent in the chain that may not do this for somebody with `roles`, and why."""
    actors = case.identity.actors
    for name in actors:
        agent = case.plan.agents.get(name)
        if agent is None:
            return name, "the policy knows no such agent"
        if len(set(actors)) < len(actors):
            return name, "the chain of agents has a loop"
        if lack := _lack(agent, len(actors), roles, case):
            return name, lack
    if actors and not narrow_roles(roles, case):
        return actors[0], "no role is one for which the whole chain may act"
    return None


def _lack(agent: Agent, depth: int, roles: frozenset[str], case: Case) -> str | None:
    request, models = case.request, agent.models
    if depth > agent.max_depth:
        return f"the chain has {depth} agents, it may be part of {agent.max_depth}"
    if case.model.name not in models.names or not all_met(same_clauses(models.same, case)):
        return f"{case.model.name} is not among its models"
    if request.action not in agent.actions:
        return f"{request.action} is not among its actions"
    if not roles & frozenset(agent.acts_for):
        return f"it acts only for {join_words(agent.acts_for)}"
    return None
