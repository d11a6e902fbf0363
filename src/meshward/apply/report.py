"""STATE/instance.json and STATE/root.pem: what clients and other commands need of the running instance."""

from __future__ import annotations

from meshward.apply.standing import Standing, origin
from meshward.kit.durable import write_atomic
from meshward.runtime.instance import Instance
from meshward.runtime.machine import Machine
from meshward.spiffe.ca import load_or_create as load_authority


def save_instance(machine: Machine, standing: Standing) -> Instance:
    """Raises OSError."""
    plan, state = standing.plan, machine.state.path
    root = state / "root.pem"
    write_atomic(root, load_authority(state / "ca", plan.trust_domain).root_pem, 0o644)
    instance = Instance(
        edge_url=origin(plan),
        root_certificate=str(root),
        run=str(machine.run.path),
        trust_domain=plan.trust_domain,
        revision=standing.revision,
        guards=tuple(machine.guarded(plan, key, slot) for key, slot in standing.slots.items()),
        idp_url=machine.extra.idp_url,
    )
    instance.save(state)
    return instance
