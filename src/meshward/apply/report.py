"""STATE/instance.json and STATE/root.pem: what clients and other commands need of the running instance."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from meshward.apply.edge_certificate import client_roots
from meshward.apply.hop_files import WEB, edge_certificates
from meshward.apply.live_revision import LiveRevision, origin
from meshward.apply.sited import describe_places
from meshward.kit.durable import write_atomic
from meshward.kit.errors import MeshwardError
from meshward.kit.secret import Secret
from meshward.kit.statefile import read_plain
from meshward.plan.ir import Plan
from meshward.runtime.machine import Machine
from meshward.runtime.place.instance_file import INSTANCE, Guarded, Instance
from meshward.spiffe.ca import load as load_authority

ROOTS = "root.pem"


def save_instance(machine: Machine, live: LiveRevision) -> Instance:
    """Raises OSError."""
    plan, state = live.plan, machine.state.path
    save_roots(machine, plan, Secret(edge_certificates(machine.run)[WEB].read_text()))
    instance = Instance(
        edge_url=origin(plan),
        root_certificate=str(state / ROOTS),
        run=str(machine.run.path),
        trust_domain=plan.trust_domain,
        revision=live.revision,
        guards=_described(machine, live),
        idp_url=machine.extra.idp_url,
        elsewhere=describe_places(live.placed),
    )
    instance.save(state)
    return instance


def save_instance_anew(machine: Machine, live: LiveRevision) -> None:
    """Where who reaches a server past its guard has changed since. Raises OSError."""
    known = None
    with suppress(MeshwardError):  # damaged: it is written anew
        known = INSTANCE.read(machine.state.path)
    if known is None or known.guards != _described(machine, live):
        save_instance(machine, live)


def _described(machine: Machine, live: LiveRevision) -> tuple[Guarded, ...]:
    return tuple(machine.describe_guard(live.plan, key, slot) for key, slot in live.slots.items())


def save_roots(machine: Machine, plan: Plan, served: Secret, *, besides: bool = False) -> None:
    """STATE/root.pem: by what clients here verify an edge that serves the certificate `served`. Raises OSError.

    `besides`: beside what is in it, for as long as both certificates may be met.
    """
    authority = load_authority(machine.state.path / "ca", plan.trust_domain)
    generated = plan.edge.certificate_path is None
    roots = authority.root_pem if generated else client_roots(authority, served.reveal())
    file = machine.state.path / ROOTS
    if besides and (known := _known(file)) != roots:
        roots += known
    write_atomic(file, roots, 0o644)


def _known(file: Path) -> str:
    """The roots that clients were given; none where somebody made something else of the file: it is written anew."""
    with suppress(FileNotFoundError, ValueError):
        return read_plain(file).decode()
    return ""
