"""By what a revoked name is known beside its spelling, so that it holds on when a policy calls the same one otherwise.

A subject is an issuer's, known by its URL; a workload has a SPIFFE ID; an agent proves who it is by one of them. Who
was revoked under one name is refused under that name, whatever it comes to mean, and under each other name that a
policy has for the same one. Where names were swapped that is one too many, and never one too few.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

from meshward.callers.revocations import token_names
from meshward.oidc.profiles import load_profile
from meshward.plan.ir import Agent, Issuer, Plan

Kind = Literal["subject", "token", "agent"]
WORKLOAD = "workload"
"""How a workload's name in tokens and records begins: no issuer may be called so."""


def known_by(plan: Plan, kind: Kind, name: str) -> str:
    """By what `plan` knows whom it calls `name`; empty: it knows nobody of that name, or it is a token's."""
    if kind == "agent":
        return _proof(plan, plan.agents[name]) if name in plan.agents else ""
    owner, _, own = name.partition(":")
    if owner == WORKLOAD:
        return plan.workloads.get(own, "")
    return f"{plan.issuers[owner].url} {own}" if owner in plan.issuers else ""


def spread(
    plan: Plan, kind: Kind, names: frozenset[str], known: frozenset[str]
) -> tuple[frozenset[str], frozenset[str]]:
    """`names` and what those are `known` by, with all that `plan` adds to both; a token is no plan's."""
    if kind == "token":
        return names.union(*map(token_names, names)), known
    known |= {by for by in (known_by(plan, kind, name) for name in names) if by}
    return names | frozenset(_called(plan, kind, known)), known


def _called(plan: Plan, kind: Kind, known: frozenset[str]) -> Iterator[str]:
    """What `plan` calls those who are `known` by these."""
    if kind == "agent":
        yield from (name for name, agent in plan.agents.items() if _proof(plan, agent) in known)
        return
    yield from (f"{WORKLOAD}:{name}" for name, spiffe_id in plan.workloads.items() if spiffe_id in known)
    names = {issuer.url: issuer.name for issuer in plan.issuers.values()}
    for by in known:
        url, space, own = by.partition(" ")
        if space and url in names:
            yield f"{names[url]}:{own}"


def _proof(plan: Plan, agent: Agent) -> str:
    name = f"{WORKLOAD}:{agent.workload}" if agent.workload is not None else f"{agent.issuer}:{agent.subject}"
    return known_by(plan, "subject", name)


def misread(old: Plan, new: Plan, subjects: Mapping[str, object]) -> Iterator[str]:
    """Those of the revoked `subjects` whose issuer's tokens `new` reads in another way than `old`.

    Another profile takes another claim for the subject, so who was revoked would come back under another name.
    """
    at = {issuer.url: issuer for issuer in new.issuers.values()}
    for name in subjects:
        owner = name.partition(":")[0]
        before = old.issuers.get(owner)
        after = [each for each in (new.issuers.get(owner), at.get(before.url if before else "")) if each]
        if before and any(_reads(each) != _reads(before) for each in after):
            yield name


def _reads(issuer: Issuer) -> object:
    return load_profile(issuer.profile).subject
