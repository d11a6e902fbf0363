"""Every name that one part of a policy uses for another, and whether that other is there."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from meshward.kit import codes
from meshward.kit.text import nearest, quoted, quoted_list
from meshward.policy.rules.findings import Findings
from meshward.policy.schema import Agent, Grant, Member, Model, ModelSelector, Policy, Selection, Test, When
from meshward.policy.servers import GENERATED, server_kinds

Path = tuple[str | int, ...]

SHARED = frozenset({"identity", "grant", "everyone"})
COUNTED = frozenset({"identity", "grant"})


@dataclass(frozen=True, slots=True)
class Reference:
    """A use of the name `name` for a thing of kind `kind`, at `path`."""

    kind: str
    name: str
    path: Path


def check_references(policy: Policy, findings: Findings) -> None:
    known = _known_names(policy)
    for reference in references(policy):
        if findings.are_enough:
            return
        if reference.name not in known[reference.kind]:
            findings.error(
                codes.DANGLING_REFERENCE,
                reference.path,
                f"names the {reference.kind} {quoted(reference.name)}, which does not exist",
                _remedy(reference.name, known[reference.kind]),
            )


def references(policy: Policy) -> Iterator[Reference]:
    """Every reference of the policy, in no particular order."""
    for role, members in policy.roles.items():
        for index, member in enumerate(members):
            yield from _of_member(member, ("roles", role, index))
    for right in type(policy.operators).model_fields:
        yield from _each("role", getattr(policy.operators, right), ("operators", right))
    for name, model in policy.models.items():
        yield from _of_model(model, ("models", name))
    yield from _of_rules(policy)
    for name, agent in policy.agents.items():
        yield from _of_agent(agent, ("agents", name))
    for index, test in enumerate(policy.tests):
        yield from _of_test(test, ("tests", index))


def attributes(policy: Policy) -> set[str]:
    """The names of all attributes that some issuer gives."""
    return {name for issuer in policy.issuers.values() for name in issuer.attributes}


def _known_names(policy: Policy) -> dict[str, Collection[str]]:
    named = attributes(policy)
    return {
        "issuer": policy.issuers,
        "workload": policy.workloads,
        "role": policy.roles,
        "model": policy.models,
        "agent": policy.agents,
        "credential": {*policy.credentials, GENERATED},
        "server kind": server_kinds(policy),
        "attribute": named,
        "audience or attribute": named | SHARED,
        "unit or attribute": named | COUNTED,
    }


def _remedy(name: str, known: Collection[str]) -> str:
    if meant := nearest(name, known):
        return f"Did you mean {quoted(meant)}?"
    return f"Define it, or use {quoted_list(sorted(known), 8)}." if known else "Define it, or take this out."


def _of_member(member: Member, path: Path) -> Iterator[Reference]:
    yield from _maybe("issuer", member.issuer, (*path, "issuer"))
    yield from _maybe("workload", member.workload, (*path, "workload"))


def _of_model(model: Model, path: Path) -> Iterator[Reference]:
    for name, version in model.versions.items():
        yield Reference("server kind", version.server, (*path, "versions", name, "server"))
        yield from _maybe("credential", version.credential, (*path, "versions", name, "credential"))
    if model.cache:
        yield Reference("audience or attribute", model.cache.share, (*path, "cache", "share"))
    yield from _each("model", model.calls, (*path, "calls"))


def _of_rules(policy: Policy) -> Iterator[Reference]:
    for index, grant in enumerate(policy.grants):
        yield from _of_grant(grant, ("grants", index))
    for index, deny in enumerate(policy.denies):
        path: Path = ("denies", index)
        for number, subject in enumerate(deny.subjects or ()):
            yield Reference("issuer", subject.issuer, (*path, "subjects", number, "issuer"))
        yield from _each("role", deny.roles or (), (*path, "roles"))
        yield from _of_selection(deny.models, (*path, "models"))
        yield from _of_when(deny.when, (*path, "when"))
    for index, law in enumerate(policy.never):
        path = ("never", index)
        yield from _each("role", law.roles, (*path, "roles"))
        yield from _of_selection(law.models, (*path, "models"))
        yield from _each("model", law.unless.via if law.unless else (), (*path, "unless", "via"))


def _of_grant(grant: Grant, path: Path) -> Iterator[Reference]:
    yield from _each("role", grant.roles, (*path, "roles"))
    yield from _of_selection(grant.models, (*path, "models"))
    yield from _of_when(grant.when, (*path, "when"))
    if grant.limits:
        yield Reference("unit or attribute", grant.limits.per, (*path, "limits", "per"))
    if grant.on_request:
        yield from _each("role", grant.on_request.approve, (*path, "on_request", "approve"))


def _of_agent(agent: Agent, path: Path) -> Iterator[Reference]:
    yield from _maybe("workload", agent.credential.workload, (*path, "credential", "workload"))
    yield from _maybe("issuer", agent.credential.issuer, (*path, "credential", "issuer"))
    yield from _each("role", agent.acts_for, (*path, "acts_for"))
    yield from _of_selection(agent.models, (*path, "models"))
    if agent.limits:
        yield Reference("unit or attribute", agent.limits.per, (*path, "limits", "per"))


def _of_test(test: Test, path: Path) -> Iterator[Reference]:
    yield from _maybe("issuer", test.who.issuer, (*path, "as", "issuer"))
    yield from _maybe("workload", test.who.workload, (*path, "as", "workload"))
    yield from _maybe("agent", test.who.actor, (*path, "as", "actor"))
    for name in test.who.attributes:
        yield Reference("attribute", name, (*path, "as", "attributes", name))
    yield Reference("model", test.model, (*path, "model"))
    yield from _maybe("model", test.via, (*path, "via"))


def _of_selection(selection: Selection | None, path: Path) -> Iterator[Reference]:
    if isinstance(selection, list):
        yield from _each("model", selection, path)
    elif isinstance(selection, ModelSelector):
        yield from _each("attribute", selection.same, (*path, "same"))


def _of_when(when: When | None, path: Path) -> Iterator[Reference]:
    if when:
        yield from _each("model", when.via or (), (*path, "via"))


def _each(kind: str, names: Sequence[str], path: Path) -> Iterable[Reference]:
    return (Reference(kind, name, (*path, index)) for index, name in enumerate(names))


def _maybe(kind: str, name: str | None, path: Path) -> Iterable[Reference]:
    return () if name is None else (Reference(kind, name, path),)
