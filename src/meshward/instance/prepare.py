"""From an accepted policy to everything that an instance starts with: steps 2 and 3 of `up`."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime

from meshward.apply.counters import Counters, load_counters
from meshward.apply.edge_certificate import server_certificate
from meshward.apply.edge_hop import save_facts
from meshward.apply.forgotten import once_managed
from meshward.apply.guards import Guards, Issue
from meshward.apply.hop_files import (
    Nginx,
    Owner,
    edge_settings,
    write_authorities,
    write_decision,
    write_edge,
)
from meshward.apply.issuer_keys import hand_issuer_keys
from meshward.apply.keeping import save_keeping
from meshward.apply.live_revision import LiveRevision
from meshward.apply.mesh import Mesh, Running
from meshward.apply.places import resolve_places
from meshward.apply.revisions import STAGED, Revision, Revisions
from meshward.apply.revocation_store import Revocations, begin_list
from meshward.apply.revoke import require_read_alike
from meshward.apply.slots import assign_slots
from meshward.apply.vendor_validation import judge_edge
from meshward.audit.quarantine import save_quarantine
from meshward.compare.change import compare
from meshward.instance.running_policy import no_revision_error
from meshward.kit.errors import MeshwardError
from meshward.kit.foreign import take
from meshward.oidc.kept_keys import KEPT, read_kept
from meshward.plan.ir import Plan
from meshward.plan.placement import place as place_plan
from meshward.plan.placement import plan_at
from meshward.policy.schema import Policy
from meshward.policy.site import Site
from meshward.runtime.machine import Machine
from meshward.runtime.place.components import Components
from meshward.runtime.place.versions import numbers
from meshward.runtime.supervise.part import Progress
from meshward.runtime.supervise.parts import CONNECT
from meshward.spiffe.ca import load_or_create as load_authority
from meshward.tokens.key_store import load_or_create as load_keys

MOST_WORKERS = 4


def followed_policy(
    revisions: Revisions, policy: Policy, progress: Progress, site: Site | None = None
) -> Policy | None:
    """What `--watch` may start with: None, so what was accepted last, where `policy` widens that. It takes a person.

    Raises MeshwardError where nobody can tell what was accepted last.
    """
    current = revisions.require_current()
    if current is None or current.digest == policy.digest:
        return policy
    old, new = revisions.plan(current.number), plan_at(policy, site or revisions.site(current.number))
    widening = [*compare(old, new).widening, *once_managed(revisions, old, new)]
    if not widening:
        return policy
    progress(f"this policy widens access: {'; '.join(widening)}")
    progress(
        f"--watch does not take it, revision {current.number} runs: `meshward apply --allow widening` does"
    )
    return None


def site_to_run(revisions: Revisions, given: Site | None) -> Site | None:
    """The site that is `given`; else the one of the revision that was accepted last."""
    if given is not None or (current := revisions.current()) is None:
        return given
    return revisions.site(current.number)


def revision_to_run(
    revisions: Revisions,
    policy: Policy | None,
    author: str,
    counters: Counters,
    progress: Progress,
    site: Site | None = None,
) -> tuple[Policy, Revision]:
    """The policy that is to run at `site`, and their record: the accepted one's, or a new one."""
    current = revisions.require_current() if policy is None else revisions.current()
    if policy is None:
        if current is None:
            raise no_revision_error()
        policy = revisions.policy(current.number)
    digest, site_digest = policy.digest, site.digest if site else ""
    same = current is not None and (current.digest, current.site) == (digest, site_digest)
    if current is not None and same and revisions.stands(current):
        revisions.restore(current.number, policy, site)
        return policy, current
    parent = current.number if current else 0
    number = revisions.next_number(max(counters.revision, counters.accepted))
    revision = Revision(number, STAGED, digest, parent, author, time.time(), "up", site=site_digest)
    if current is not None:
        known = f"revision {current.number} ({current.reason or 'no reason'}, by {current.author})"
        what = "site" if current.digest == digest else "policy"
        progress(f"this {what} is another than {known}: it becomes revision {number}")
    revisions.stage(policy, revision, site)
    return policy, revision


def revocations_at_start(revisions: Revisions, kept: Revocations, plan: Plan) -> Revocations:
    """Of those who were `kept`, who is revoked by every name that they have in `plan`, or had in the policy that was
    accepted last. Raises MeshwardError where `plan` reads their names in another way.
    """
    kept = kept.standing(time.time())
    before = _plan_before(revisions) if kept != Revocations() else None
    if before is not None:
        kept = kept.spread(before)
        require_read_alike(before, plan, kept.revoked)
    return kept.spread(plan)


def _plan_before(revisions: Revisions) -> Plan | None:
    """Of the revision that was accepted last; None: there is none, or it was lost, and names alone are left."""
    with suppress(MeshwardError):
        if (current := revisions.current()) is not None:
            return revisions.plan(current.number)
    return None


def prepare_mesh(
    place: Machine,
    policy: Policy,
    site: Site | None,
    plan: Plan,
    revision: Revision,
    revocations: Revocations,
) -> Mesh:
    """Every file written, and judged before anything runs."""
    state, run = place.state, place.run
    counters = load_counters(state.path)
    elsewhere = resolve_places(place_plan(plan, site) if site else None, {})
    slots = assign_slots(plan, counters.slots, elsewhere=elsewhere)
    counters = replace(counters.after_start(plan.digest, slots), revision=revision.number)
    live = LiveRevision(policy, plan, revision.number, slots, site=site, elsewhere=elsewhere)
    authority = load_authority(state.path / "ca", plan.trust_domain)
    keys, revoked = load_keys(state.path / "keys"), revocations.revoked
    web = server_certificate(plan, authority, datetime.now(UTC))
    take(run.given, 0o711)
    workers = min(MOST_WORKERS, len(os.sched_getaffinity(0)))
    settings = edge_settings(plan, run, _nginx(place.components), workers)
    write_edge(settings, authority, revoked, Owner(place.edge), counters.generation, counters.epoch, web)
    judge_edge(place.layout, run.edge_given / "nginx.conf")
    counters = begin_list(state.path, counters, revocations)
    mesh = Mesh(place, Running(live, settings, counters, revocations))
    _write_guards(place, mesh.guards, live, Issue(authority, keys, revoked))
    write_decision(live, keys, revoked, run, Owner(place.decide), place.edge)
    hand_issuer_keys(place, read_kept(KEPT, state.path))
    write_authorities(authority, run, Owner(place.decide))
    take(run.path / "audit", 0o711)
    take(run.control_dir, CONNECT, place.edge.gid)
    (state.path / "policy.json").unlink(missing_ok=True)  # release 0.1.0 kept what runs twice
    save_facts(state.path, settings)
    save_keeping(run.control_dir, plan, counters.records)
    save_quarantine(run.control_dir, {})  # every hop's directory is as it was made
    counters.save(state.path)
    return mesh


def _nginx(found: Components) -> Nginx:
    return Nginx(numbers(found.versions["nginx"]), found.lua_modules, found.lua_path)


def _write_guards(place: Machine, guards: Guards, live: LiveRevision, issue: Issue) -> None:
    owners = {guard: Owner(place.guard(live.plan, *guard)) for guard in live.guards()}
    files = {guard: guards.render(live, guard, issue) for guard in owners}
    guards.judge(files)
    for guard, owner in owners.items():
        guards.write(guard, files[guard], owner)
