"""Resolution of rules: labels become models' names, spellings fall away."""

from __future__ import annotations

from collections.abc import Mapping

from meshward.plan import ir
from meshward.policy import schema
from meshward.policy.values import Value, Written

Models = Mapping[str, schema.Model]


def selector(selection: schema.Selection, models: Models) -> ir.Selector:
    """Raises ValueError for a model that does not exist."""
    if selection == "all":
        return ir.Selector(frozenset(models), ())
    if isinstance(selection, schema.ModelSelector):
        wanted = selection.labels.items()
        names = frozenset(name for name, model in models.items() if wanted <= model.labels.items())
        return ir.Selector(names, tuple(selection.same))
    if unknown := set(selection) - models.keys():
        raise ValueError(f"no such model: {', '.join(sorted(unknown))}")
    return ir.Selector(frozenset(selection), ())


def condition(when: schema.When) -> ir.Condition:
    return ir.Condition(
        sources=tuple(network.value for network in when.source) if when.source is not None else None,
        hours=_value(when.hours),
        fresh=_value(when.fresh),
        via=tuple(when.via) if when.via is not None else None,
        person=when.person,
        actor=when.actor,
    )


def limits(given: schema.Limits) -> ir.Limits:
    return ir.Limits(given.requests, given.tokens, given.concurrent, given.per)


def grant(given: schema.Grant, models: Models) -> ir.Grant:
    return ir.Grant(
        id=given.id,
        roles=tuple(given.roles),
        models=selector(given.models, models),
        actions=frozenset(given.actions),
        when=condition(given.when) if given.when is not None else None,
        limits=limits(given.limits) if given.limits is not None else None,
        expires=_value(given.expires),
        on_request=_on_request(given.on_request) if given.on_request is not None else None,
        shadow=given.mode == "shadow",
    )


def deny(given: schema.Deny, models: Models) -> ir.Deny:
    subjects = given.subjects
    return ir.Deny(
        id=given.id,
        subjects=tuple((who.issuer, who.subject) for who in subjects) if subjects is not None else None,
        roles=tuple(given.roles) if given.roles is not None else None,
        models=selector(given.models, models) if given.models is not None else None,
        actions=frozenset(given.actions) if given.actions is not None else None,
        when=condition(given.when) if given.when is not None else None,
        expires=_value(given.expires),
        shadow=given.mode == "shadow",
    )


def never(given: schema.Never, models: Models) -> ir.Never:
    return ir.Never(
        id=given.id,
        roles=tuple(given.roles),
        models=selector(given.models, models),
        actions=frozenset(given.actions),
        unless_via=tuple(given.unless.via) if given.unless is not None else (),
    )


def agent(name: str, given: schema.Agent, models: Models) -> ir.Agent:
    return ir.Agent(
        name=name,
        workload=given.credential.workload,
        issuer=given.credential.issuer,
        subject=given.credential.subject,
        acts_for=tuple(given.acts_for),
        models=selector(given.models, models),
        actions=frozenset(given.actions),
        limits=limits(given.limits) if given.limits is not None else None,
        max_depth=given.max_depth,
    )


def member(given: schema.Member) -> ir.Member:
    return ir.Member(
        issuer=given.issuer,
        group=given.group,
        claims=tuple(sorted((given.claims or {}).items())),
        subject=given.subject,
        workload=given.workload,
        until=_value(given.until),
    )


def _on_request(given: schema.OnRequest) -> ir.OnRequest:
    return ir.OnRequest(given.duration.value, tuple(given.approve), tuple(given.tell))


def _value(given: Written[Value] | None) -> Value | None:
    return given.value if given is not None else None
