"""What each hop is given, as files: rendered by the targets, written for exactly the uid that reads them.

Directories under RUN are setgid, so that a socket made in one belongs to the group that may connect to it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from meshward.apply.slots import SLOTS
from meshward.edge.live import Live, save_text
from meshward.kit.durable import write_atomic
from meshward.kit.secret import Secret
from meshward.plan.ir import Plan
from meshward.policy.schema import Policy
from meshward.runtime.directories import Run, own_directory
from meshward.runtime.identities import Identity
from meshward.spiffe.ca import Authority
from meshward.spiffe.ids import SpiffeId
from meshward.targets.envoy.files import GuardFiles, GuardIdentity
from meshward.targets.envoy.files import render as render_guard
from meshward.targets.envoy.listener import GuardSettings
from meshward.targets.envoy.projection import project
from meshward.targets.nginx.program import render as render_edge
from meshward.targets.nginx.settings import EdgeSettings
from meshward.tokens.keys import SigningKeys
from meshward.tokens.keys import save as save_keys

CONNECT = 0o2710  # the owner's; its group may pass, to a socket whose name it knows
COLD_RATE, COLD_BURST = "500r/s", 1000  # undecided requests of one address: a quarter of a core at the most
_SHARED = 0o640


@dataclass(frozen=True, slots=True)
class Owner:
    """Who a hop's files are for. Files stay ours and are the group's to read: no hop can change its own rules."""

    identity: Identity

    @property
    def gid(self) -> int | None:
        return None if self.identity.gid == os.getegid() else self.identity.gid

    def write(self, path: Path, data: bytes | str | Secret) -> None:
        content = data.reveal() if isinstance(data, Secret) else data
        write_atomic(path, content, 0o600 if self.gid is None else _SHARED, self.gid)

    def readable(self, path: Path) -> Path:
        """A directory of ours that the owner may read."""
        return own_directory(path, gid=self.identity.gid, mode=0o750)


def edge_settings(plan: Plan, run: Run, cache: Path, module: str, workers: int) -> EdgeSettings:
    """The edge's program for `plan`: what of it only a reload can change."""
    models = plan.models.values()
    return EdgeSettings(
        listen_host=plan.edge.host,
        listen_port=plan.edge.port,
        hostname=plan.edge.hostname,
        run_dir=str(run.edge_dir),
        decision_socket=str(run.decide_socket),
        cache_dir=str(cache),
        guard_socket=str(run.path / "guards" / "{slot}" / "guard.sock"),
        root_bundle=str(run.edge_dir / "certs" / "root.pem"),
        module=module,
        rates=rates(plan),
        slots=SLOTS,
        max_body=max(model.max_body for model in models),
        longest_timeout=max(model.timeout for model in models),
        workers=workers,
        cold_rate=COLD_RATE,
        cold_burst=COLD_BURST,
    )


def rates(plan: Plan) -> tuple[str, ...]:
    """Every rate that a decision may name, in nginx's spelling."""
    limits = [grant.limits.requests for grant in plan.grants if grant.limits and grant.limits.requests]
    return tuple(sorted({f"{rate.count}r/{'s' if rate.seconds == 1 else 'm'}" for rate in limits}))


def write_edge(
    settings: EdgeSettings, authority: Authority, owner: Owner, generation: str, epoch: int
) -> None:
    """nginx's directory: the program, certificates of `generation`, the pointer to them, the epoch."""
    directory = own_directory(Path(settings.run_dir), uid=owner.identity.uid, gid=owner.identity.gid)
    own_directory(directory / "tmp", uid=owner.identity.uid, gid=owner.identity.gid)
    certs = owner.readable(directory / "certs")
    now = datetime.now(UTC)
    edge = SpiffeId(authority.trust_domain, "/edge")
    owner.write(certs / f"web.{generation}.pem", authority.issue_web(settings.hostname, now).key_and_chain())
    owner.write(certs / f"edge.{generation}.pem", authority.issue(edge, None, now).key_and_chain())
    owner.write(certs / "root.pem", authority.root_pem)
    for name, content in render_edge(settings).items():
        owner.write(directory / name, content)
    owner.write(directory / "epoch", str(epoch))
    owner.write(directory / "generation", generation)


def write_guard(
    plan: Plan,
    key: str,
    slot: int,
    run: Run,
    authority: Authority,
    keys: SigningKeys,
    owner: Owner,
    edge: Identity,
) -> GuardFiles:
    """The directory of the guard of `key` (`<model>/<version>`). The edge's group may connect to its socket."""
    model, version = key.split("/")
    view = project(plan, model, version)
    credential = authority.issue(
        SpiffeId(plan.trust_domain, f"/model/{model}"), view.dns_name, datetime.now(UTC)
    )
    identity = GuardIdentity(credential.chain, credential.key, authority.root_pem, keys.public_jwks()["keys"])
    own_directory(run.path / "guards", mode=0o711)
    directory = own_directory(run.guard_dir(slot), uid=owner.identity.uid, gid=edge.gid, mode=CONNECT)
    files = render_guard(view, GuardSettings(str(directory)), identity)
    xds = owner.readable(directory / "xds")
    for name, content in files.xds.items():
        owner.write(xds / f"{name}.json", content)
    owner.write(directory / "guard.json", files.bootstrap)
    return files


def write_decision(
    plan: Plan, policy: Policy, run: Run, slots: Mapping[str, int], keys: SigningKeys, revision: int,
    owner: Owner, edge: Identity,
) -> None:  # fmt: skip
    """The decision service's directory: the accepted policy, what it needs of this machine, the signing keys."""
    directory = own_directory(run.decide_dir, uid=owner.identity.uid, gid=edge.gid, mode=CONNECT)
    save_keys(directory / "keys", keys, owner.gid)
    owner.write(directory / "policy.json", policy.model_dump_json(by_alias=True, exclude_unset=True))
    live = Live(
        revision=revision,
        audience=plan.trust_domain,
        origin=origin(plan),
        slots={name: f"{slot:02d}" for name, slot in slots.items()},
    )
    owner.write(directory / "live.json", save_text(live))


def origin(plan: Plan) -> str:
    """The URL that clients use."""
    port = "" if plan.edge.port == 443 else f":{plan.edge.port}"
    return f"https://{plan.edge.hostname}{port}"
