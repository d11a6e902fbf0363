"""Everything that a change of policy needs, rendered and judged before the first hop is touched."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from meshward.apply.edge_certificate import server_certificate
from meshward.apply.edge_hop import EdgeHop, settings_for
from meshward.apply.guards import Issue
from meshward.apply.live_revision import LiveRevision
from meshward.apply.mesh import Mesh
from meshward.apply.places import resolve_places
from meshward.apply.slots import assign_slots
from meshward.apply.switching import Rendering, Say, Switch
from meshward.kit import codes
from meshward.kit.clock import system_clock
from meshward.kit.errors import MeshwardError
from meshward.plan.ir import Plan
from meshward.plan.placement import place, plan_at
from meshward.policy.schema import Policy
from meshward.policy.site import Site
from meshward.runtime.place.ports import require_free
from meshward.targets.nginx.settings import EdgeSettings


def stage_policy(mesh: Mesh, policy: Policy, site: Site | None, number: int) -> Switch:
    """The way from what stands to `policy` at `site` as revision `number`, and back. Raises MeshwardError, OSError."""
    old, plan = mesh.live, plan_at(policy, site)
    if plan.trust_domain != old.plan.trust_domain:
        raise MeshwardError(
            codes.TRUST_DOMAIN_FIXED,
            f"the trust domain is {old.plan.trust_domain}, and cannot become {plan.trust_domain}",
        )
    elsewhere = resolve_places(place(plan, site) if site else None, old.elsewhere)
    draft = LiveRevision(policy, plan, number, old.slots, site=site, elsewhere=elsewhere)
    kept = {key: slot for key, slot in old.slots.items() if _has(plan, key) and key not in elsewhere}
    kept = {key: slot for key, slot in kept.items() if not mesh.guards.must_be_another(old, draft, key)}
    taken = (*old.slots.values(), *mesh.drains.slots())
    slots, ejected = assign_slots(plan, kept, taken, elsewhere), old.ejected.intersection(kept)
    return _render_switch(mesh, replace(draft, slots=slots, ejected=ejected))


def validate(mesh: Mesh, switch: Switch, say: Say) -> None:
    """Let Envoy and nginx judge what they would be given. Raises MeshwardError in their words."""
    server_certificate(switch.new.live.plan, mesh.issue().authority, datetime.now(UTC))
    judged = {**switch.starts, **switch.new.files}
    if judged:
        say(f"Envoy judges {len(judged)} guard{'s' if len(judged) > 1 else ''}")
    mesh.guards.judge(judged)
    if switch.reloads:
        say("nginx judges its program")
        old, new = switch.old.settings, switch.new.settings
        if (old.listen_host, old.listen_port) != (new.listen_host, new.listen_port):
            require_free([(new.listen_host, new.listen_port)])
        EdgeHop(mesh.machine).judge(new)


def _render_switch(mesh: Mesh, new: LiveRevision) -> Switch:
    running, issue = mesh.running, mesh.issue()
    old = running.live
    starts = [guard for guard in new.guards() if guard not in old.guards()]
    stays = [guard for guard in new.guards() if guard in old.guards()]
    for key, slot in starts:
        mesh.machine.guard(new.plan, key, slot)
    renamed = running.revocations.spread(new.plan).revoked.standing(system_clock())
    following = replace(issue, revoked=renamed)
    changes = mesh.guards.changed_digests(new, stays, following)

    def render(live: LiveRevision, settings: EdgeSettings, issue: Issue) -> Rendering:
        files = {guard: mesh.guards.render(live, guard, issue) for guard in changes}
        return Rendering(live, settings, files, issue.revoked)

    stops = tuple(guard for guard in old.guards() if guard not in new.guards())
    files = {guard: mesh.guards.render(new, guard, following) for guard in starts}
    settings = settings_for(running.settings, new.plan)
    return Switch(render(old, running.settings, issue), render(new, settings, following), files, stops)


def _has(plan: Plan, key: str) -> bool:
    model, version = key.split("/")
    return model in plan.models and any(each.name == version for each in plan.models[model].versions)
