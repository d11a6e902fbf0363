"""Nobody gets the identity of another by a site: no workload, no model, not the edge.

In a mesh whoever may run a pod with a ServiceAccount has its SPIFFE ID.
"""

from __future__ import annotations

from collections.abc import Iterator

from meshward.check.site_findings import Path, SiteFindings
from meshward.kit import codes
from meshward.kit.errors import Problem
from meshward.kit.text import quoted
from meshward.plan.ir import Plan
from meshward.plan.placement import MeshService, PlacedPlan, Workload
from meshward.policy.schema import ACTIONS
from meshward.spiffe.ids import parse

_EVERYBODY = "default"  # the ServiceAccount of each pod that names none


def find_shared_identities(placed: PlacedPlan, findings: SiteFindings) -> Iterator[Problem]:
    """Two names of the policy, or a name and the edge, with one SPIFFE ID; an audience that is a permission."""
    yield from _find_workloads(placed, findings)
    yield from _find_edge(placed, findings)
    yield from _find_models(placed, findings)
    yield from _find_callers_alike(placed, findings)
    yield from _find_reserved(placed, findings)
    yield from _find_ambiguous_names(placed, findings)


def _find_workloads(placed: PlacedPlan, findings: SiteFindings) -> Iterator[Problem]:
    """Told at the later one that the site places; the other may have its ID from the policy."""
    owners: dict[str, str] = {}
    for name, spiffe_id in _site_first(placed, findings):
        first = owners.setdefault(spiffe_id, name)
        if first != name:
            message = f"is {quoted(spiffe_id, 300)}, which is {quoted(first)} too"
            yield findings.told(codes.WORKLOADS_ALIKE, ("workloads", name), message)
        if spiffe_id == placed.edge_id and findings.says(("workloads", name)):
            yield findings.told(codes.EDGE_IDENTITY_SHARED, ("workloads", name), "is the edge")
        elif spiffe_id == placed.edge_id:
            message = f"is the workload {quoted(name)} of the policy"
            yield findings.told(codes.EDGE_IDENTITY_SHARED, ("edge", "workload"), message)


def find_moved(plan: Plan, placed: PlacedPlan, findings: SiteFindings) -> Iterator[Problem]:
    """Lints: workloads with rights that have another path here than in the policy. That is what a site is for, and
    whoever may edit it says so who they are: a reviewer must see it.
    """
    for name in sorted(_with_rights(plan) & plan.workloads.keys()):
        said, here = (parse(each.workloads[name]).path for each in (plan, placed.plan))
        if said != here:
            message = f"is {quoted(here, 300)}, where the policy says {quoted(said, 300)}"
            yield findings.told(codes.WORKLOAD_MOVED, ("workloads", name), message, severity="lint")


def _site_first(placed: PlacedPlan, findings: SiteFindings) -> list[tuple[str, str]]:
    """Workloads and their IDs, those that keep the policy's first: a collision is told where the site made it."""

    workloads = placed.plan.workloads.items()
    return sorted(workloads, key=lambda each: findings.says(("workloads", each[0])))


def _find_edge(placed: PlacedPlan, findings: SiteFindings) -> Iterator[Problem]:
    if placed.edge.workload.service_account == _EVERYBODY:
        message = f"is {quoted(_EVERYBODY)}, which every pod of its namespace has that names none"
        yield findings.told(codes.EDGE_IDENTITY_SHARED, ("edge", "workload", "service_account"), message)


def _find_models(placed: PlacedPlan, findings: SiteFindings) -> Iterator[Problem]:
    """A pod without a stated ServiceAccount may have `default`."""
    rights = _with_rights(placed.plan)
    owners = {spiffe_id: name for name, spiffe_id in placed.plan.workloads.items() if name in rights}
    for model, version, place in placed.services():
        path: Path = ("models", model.name, version.name, "service_account")
        own = _id_of(place, placed)
        if own == placed.edge_id:
            yield findings.told(codes.EDGE_IDENTITY_SHARED, path, "is the edge's")
        elif own in owners:
            stated = "is" if place.service_account else f"is not said, so it may be {quoted(_EVERYBODY)},"
            message = f"{stated} that of the workload {quoted(owners[own])}, which the policy gives rights"
            yield findings.told(codes.MODEL_IDENTITY_SHARED, path, message)


def _find_callers_alike(placed: PlacedPlan, findings: SiteFindings) -> Iterator[Problem]:
    """A model that may call others is known by its pods' ServiceAccount, where it is said."""
    users: dict[str, set[str]] = {}
    said = [(model, version, place) for model, version, place in placed.services() if place.service_account]
    for model, _, place in said:
        users.setdefault(_id_of(place, placed), set()).add(model.name)
    for model, version, place in said:
        others = sorted(users[_id_of(place, placed)] - {model.name})
        if model.calls and others:
            path = ("models", model.name, version.name, "service_account")
            message = f"is that of {quoted(others[0])} too, and {quoted(model.name)} may call other models"
            yield findings.told(codes.MODEL_IDENTITY_SHARED, path, message)


def _find_reserved(placed: PlacedPlan, findings: SiteFindings) -> Iterator[Problem]:
    """What meshward's own ServiceAccounts may do, nobody of the policy may."""
    named: list[tuple[Path, str]] = [
        *((("workloads", name), spiffe_id) for name, spiffe_id in placed.plan.workloads.items()),
        (("edge", "workload"), placed.edge_id),
        *(
            (("models", model.name, version.name, "service_account"), _id_of(place, placed))
            for model, version, place in placed.services()
        ),
    ]
    own = placed.own_ids
    for path, spiffe_id in named:
        if spiffe_id in own:
            yield findings.told(codes.IDENTITY_RESERVED, path, f"is {quoted(spiffe_id, 300)}, meshward's own")


def _id_of(place: MeshService, placed: PlacedPlan) -> str:
    account = place.service_account or _EVERYBODY
    return Workload(place.namespace, account).spiffe_id(placed.plan.trust_domain)


def _with_rights(plan: Plan) -> frozenset[str]:
    """Workloads that are a member of a role, or an agent's credential."""
    members = (member.workload for members in plan.roles.values() for member in members)
    agents = (agent.workload for agent in plan.agents.values())
    return frozenset(each for each in (*members, *agents) if each is not None)


def _find_ambiguous_names(placed: PlacedPlan, findings: SiteFindings) -> Iterator[Problem]:
    """Every Transaction Token is for the trust domain and for one permission; guards have DNS names below it."""
    plan, path = placed.plan, ("trust_domain",)
    model, _, action = plan.trust_domain.rpartition(".")
    if model in plan.models and action in ACTIONS:
        message = f"{quoted(plan.trust_domain)} is a permission on {quoted(model)} as well"
        yield findings.told(codes.AUDIENCE_AMBIGUOUS, path, message)
    names = {version.dns_name for entry in plan.models.values() for version in entry.versions}
    if plan.edge.hostname in names:
        message = f"makes {quoted(plan.edge.hostname, 300)}, the edge's host name, that of a guard"
        yield findings.told(codes.HOSTNAME_TAKEN, path, message)
