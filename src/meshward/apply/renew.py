"""SVIDs and the edge's certificate are issued anew long before they end; no hop is restarted or reloaded for it.

A guard sees its new SVID by the rename of a watched file; the edge by the rename of the pointer to a generation.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from meshward.apply.hops import Owner
from meshward.apply.mesh import Mesh
from meshward.kit.canonical import canonical_json
from meshward.kit.durable import opened_directory
from meshward.plan.ir import Plan
from meshward.runtime.directories import Run
from meshward.spiffe.ca import Authority
from meshward.spiffe.ids import SpiffeId
from meshward.targets.envoy.resources import SVID, discovery_response, svid

_ISSUED = re.compile(r"(web|edge)\.[0-9]+\.pem", re.ASCII)


def renew(mesh: Mesh) -> int:
    """New certificates for every hop; returns their generation. Raises OSError, MeshwardError."""
    with mesh.turn():
        machine, standing, authority = mesh.machine, mesh.standing, mesh.issue().authority
        owners = {slot: Owner(machine.guard(standing.plan, key, slot)) for key, slot in standing.guards()}
        renew_guards(standing.plan, standing.slots, machine.run, authority, owners)
        mesh.book = mesh.book.renewed()
        renew_edge(standing.plan, machine.run, authority, Owner(machine.edge), mesh.book.generation)
        mesh.book.save(machine.state.path)
        return mesh.book.generation


def renew_guards(
    plan: Plan, slots: Mapping[str, int], run: Run, authority: Authority, owners: Mapping[int, Owner]
) -> None:
    """A new SVID for every guard."""
    for key, slot in slots.items():
        model, version = key.split("/")
        name = {each.name: each for each in plan.models[model].versions}[version].dns_name
        issued = authority.issue(SpiffeId(plan.trust_domain, f"/model/{model}"), name, datetime.now(UTC))
        content = discovery_response(svid(issued.chain, issued.key))
        owners[slot].write(run.guard_dir(slot) / "xds" / f"{SVID}.json", canonical_json(content))


def renew_edge(plan: Plan, run: Run, authority: Authority, owner: Owner, generation: int) -> None:
    """New certificates for the edge, then the pointer to them; files of older generations than the last one go."""
    now = datetime.now(UTC)
    certs = run.edge_dir / "certs"
    edge = SpiffeId(plan.trust_domain, "/edge")
    owner.write(certs / f"web.{generation}.pem", authority.issue_web(plan.edge.hostname, now).key_and_chain())
    owner.write(certs / f"edge.{generation}.pem", authority.issue(edge, None, now).key_and_chain())
    owner.write(run.edge_dir / "generation", str(generation))
    _discard(certs, keep=(generation, generation - 1))


def _discard(certs: Path, keep: Sequence[int]) -> None:
    kept = {f"{what}.{generation}.pem" for what in ("web", "edge") for generation in keep}
    with opened_directory(certs) as directory:  # the edge's uid could put a link in its place
        for name in os.listdir(directory):  # noqa: PTH208  by the descriptor, not by the path
            if _ISSUED.fullmatch(name) and name not in kept:
                os.unlink(name, dir_fd=directory)
