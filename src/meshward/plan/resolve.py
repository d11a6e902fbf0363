"""From what a person wrote to the plan: labels and defaults resolved, nothing decided."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from meshward.plan import ir, issuers, models, rules
from meshward.plan.requirements import requirements
from meshward.policy import schema

_Given = TypeVar("_Given")
_Resolved = TypeVar("_Resolved")


def resolve(policy: schema.Policy) -> ir.Plan:
    """The plan of a policy that passed `policy.parse`. Pure: equal policies have equal plans.

    Raises ValueError for what `policy.parse` would have refused: names of nothing, issuers without an `iss`.
    """
    kinds, named = models.kinds(policy), policy.models
    return ir.Plan(
        trust_domain=_trust_domain(policy),
        edge=_edge(policy.edge),
        issuers=_by_name(policy.issuers, issuers.issuer),
        workloads=_by_name(policy.workloads, lambda _, given: f"spiffe://{policy.trust_domain}{given.id}"),
        roles=_by_name(policy.roles, lambda _, lines: tuple(map(rules.member, lines))),
        operators={
            right: tuple(getattr(policy.operators, right)) for right in type(policy.operators).model_fields
        },
        models=_by_name(named, lambda name, given: models.model(name, given, policy, kinds)),
        aliases=_aliases(named),
        grants=tuple(rules.grant(given, named) for given in policy.grants),
        denies=tuple(rules.deny(given, named) for given in policy.denies),
        never=tuple(rules.never(given, named) for given in policy.never),
        agents=_by_name(policy.agents, lambda name, given: rules.agent(name, given, named)),
        audit=_audit(policy.audit),
        digest=policy.digest,
        credentials=_by_name(policy.credentials, models.credential),
        requires=requirements(policy),
    )


def _by_name(
    given: Mapping[str, _Given], resolved: Callable[[str, _Given], _Resolved]
) -> dict[str, _Resolved]:
    return {name: resolved(name, given[name]) for name in sorted(given)}


def _edge(given: schema.Edge) -> ir.Edge:
    listen, certificate = given.listen.value, given.certificate
    if (certificate.source == "files") != (certificate.path is not None):
        raise ValueError("a certificate's path belongs to `from: files`")
    return ir.Edge(
        host=listen.host,
        port=listen.port,
        hostname=given.hostname,
        certificate_path=certificate.path,
        trusted_proxies=tuple(network.value for network in given.trusted_proxies),
    )


def _aliases(named: Mapping[str, schema.Model]) -> dict[str, str]:
    pairs = [(alias, name) for name in sorted(named) for alias in named[name].aliases]
    aliases = dict(pairs)
    if len(aliases) < len(pairs) or aliases.keys() & named.keys():
        raise ValueError("an alias means two models")
    return dict(sorted(aliases.items()))


def _trust_domain(policy: schema.Policy) -> str:
    """An audience of every Transaction Token, as is its permission."""
    model, _, action = policy.trust_domain.rpartition(".")
    if model in policy.models and action in schema.ACTIONS:
        raise ValueError("the trust domain is a permission")
    return policy.trust_domain


def _audit(given: schema.Audit) -> ir.Audit:
    return ir.Audit(
        max_blind=given.max_blind.value,
        on_blind=given.on_blind,
        retention=given.retention.value,
        max_disk=given.max_disk.value if given.max_disk else None,
        seal_to=tuple(given.seal_to),
    )
