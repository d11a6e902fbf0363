"""Rules that are allowed and have no effect: what can never hold, and what is over. Never errors."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from meshward.kit import codes
from meshward.kit.errors import Problem, Where
from meshward.kit.text import join_words
from meshward.plan.ir import Agent, Deny, Grant, Plan, Selector
from meshward.plan.permissions import holdings_of
from meshward.policy.parse import Document


def lints(plan: Plan, document: Document, now: int) -> list[Problem]:
    """Lints about `plan`, which is `document` resolved, at `now` (seconds since the epoch)."""
    return [*_idle(plan, document), *_ended_rules(plan, document, now)]


def _idle(plan: Plan, document: Document) -> Iterator[Problem]:
    at = document.positions.at
    for place, grant in enumerate(plan.grants):
        if why := never_holds(plan, grant):
            yield _lint(
                codes.IDLE_GRANT, f"the grant {grant.id} can never hold: {why}", at(("grants", place))
            )
    for place, deny in enumerate(plan.denies):
        if why := _never_applies(plan, deny):
            yield _lint(codes.IDLE_DENY, f"the deny {deny.id} can never apply: {why}", at(("denies", place)))
    for agent in plan.agents.values():
        if why := _never_acts(plan, agent):
            where = at(("agents", agent.name))
            yield _lint(codes.IDLE_AGENT, f"the agent {agent.name} can never act: {why}", where)


def never_holds(plan: Plan, grant: Grant) -> str | None:
    """Why `grant` cannot hold for anybody at any time; None if it may."""
    if nobody := _nobody(plan, grant.roles):
        return nobody
    if why := _no_models(plan, grant.models):
        return why
    via = grant.when.via if grant.when is not None else None
    if via is not None and not _is_called(plan, via, grant.models):
        return f"none of its models is among the `calls` of {join_words(via)}"
    if not grant.shadow and not any(plan.roles.get(holding.role) for holding in holdings_of(plan, grant)):
        return "denies take back all that it gives"
    return None


def _never_applies(plan: Plan, deny: Deny) -> str | None:
    nobody = _nobody(plan, deny.roles) if deny.roles is not None else None
    return nobody or (_no_models(plan, deny.models) if deny.models is not None else None)


def _never_acts(plan: Plan, agent: Agent) -> str | None:
    return _nobody(plan, agent.acts_for) or _no_models(plan, agent.models)


def _nobody(plan: Plan, roles: tuple[str, ...]) -> str | None:
    if any(plan.roles.get(role) for role in roles):
        return None
    return f"the role{'s' if len(roles) > 1 else ''} {join_words(roles, 'and')} can have no members"


def _no_models(plan: Plan, selector: Selector) -> str | None:
    if not selector.names:
        return "no model has these labels"
    if all(set(selector.same) - plan.models[name].labels.keys() for name in selector.names):
        return f"no model that it names has the label {join_words(selector.same, 'and')}"
    return None


def _is_called(plan: Plan, callers: tuple[str, ...], selector: Selector) -> bool:
    called = {model for name in callers if name in plan.models for model in plan.models[name].calls}
    return not selector.names.isdisjoint(called)


def _ended_rules(plan: Plan, document: Document, now: int) -> Iterator[Problem]:
    at = document.positions.at
    sections: list[tuple[str, tuple[Grant | Deny, ...]]] = [("grants", plan.grants), ("denies", plan.denies)]
    for section, rules in sections:
        for place, rule in enumerate(rules):
            if rule.expires is not None and rule.expires <= now:
                where = at((section, place, "expires"))
                yield _lint(codes.PAST_RULE, f"{rule.id} ended on {_day(rule.expires)}", where)
    for role, lines in plan.roles.items():
        for place, line in enumerate(lines):
            if line.until is not None and line.until <= now:
                where = at(("roles", role, place, "until"))
                yield _lint(codes.PAST_RULE, f"this membership of {role} ended on {_day(line.until)}", where)


def _day(end: int) -> str:
    return str(datetime.fromtimestamp(end - 1, UTC).date())


def _lint(code: codes.Code, message: str, where: Where) -> Problem:
    return Problem(code, message, code.remedy, where, "lint")
