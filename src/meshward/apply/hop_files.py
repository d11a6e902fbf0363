"""What each hop is given, as files: rendered by the targets, written for exactly the uid that reads them.

A hop's own directory is setgid, so that a socket made in it belongs to the group that may connect to it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from pathlib import Path

from meshward.apply.edge_page import EdgePage, page_bytes
from meshward.apply.live_revision import LiveRevision
from meshward.apply.slots import SLOTS
from meshward.callers.revocations import EDGE_FILE as EDGE_REVOKED
from meshward.callers.revocations import FILE as REVOKED
from meshward.callers.revocations import Revoked, edge_text
from meshward.callers.revocations import save_text as revoked_text
from meshward.callers.workloads import AUTHORITIES
from meshward.edge.instance_view import save_text
from meshward.kit.durable import write_atomic
from meshward.kit.foreign import Holder, hand_to, make_own, take
from meshward.kit.secret import Secret
from meshward.plan.ir import Plan
from meshward.policy.parse import to_json
from meshward.runtime.place.directories import Run
from meshward.runtime.place.identities import ProcessIdentity
from meshward.runtime.supervise.parts import holder_of
from meshward.spiffe.ca import Authority
from meshward.spiffe.ids import SpiffeId
from meshward.spiffe.placeholder import placeholder_certificate
from meshward.targets.envoy.files import GuardFiles
from meshward.targets.nginx.settings import EdgeSettings
from meshward.targets.nginx.target import EDGE, EdgePlace, view_in
from meshward.tokens.key_store import save_current
from meshward.tokens.keys import SigningKeys

WEB, CLIENT = "web", "edge"  # stems of the edge's certificates, server's and client's
COLD_RATE, COLD_BURST = "500r/s", 1000  # undecided requests of one address: a quarter of a core at the most
KEEPALIVE_MIN_TIMEOUT = (1, 27, 4)  # the nginx that first has it
_SHARED = 0o640


@dataclass(frozen=True, slots=True)
class Owner:
    """Who a hop's files are for. Files stay ours and are the group's to read: no hop can change its own rules."""

    identity: ProcessIdentity

    @property
    def gid(self) -> int | None:
        return None if self.identity.gid == os.getegid() else self.identity.gid

    def write(self, path: Path, data: bytes | str | Secret) -> None:
        content = data.reveal() if isinstance(data, Secret) else data
        write_atomic(path, content, 0o600 if self.gid is None else _SHARED, self.gid)

    def readable_directory(self, path: Path) -> Path:
        """A directory of ours that the owner may read."""
        hand_to(path, Holder(os.geteuid(), self.identity.gid, 0o750))
        return path


@dataclass(frozen=True, slots=True)
class Nginx:
    """The nginx that is to run the program: its version, and where its Lua is (`EdgeSettings`)."""

    version: tuple[int, ...]
    lua_modules: tuple[str, ...]
    lua_path: str


def edge_settings(plan: Plan, run: Run, nginx: Nginx, workers: int) -> EdgeSettings:
    """The edge's program for `plan`, as `nginx` knows it: what of it only a reload can change."""
    return EdgeSettings(
        **asdict(EDGE.project(plan, None)),
        run_dir=str(run.edge_dir),
        given_dir=str(run.edge_given),
        decision_socket=str(run.decide_socket),
        control_socket=str(run.control_socket),
        guard_socket=str(run.path / "guards" / "{slot}" / "guard.sock"),
        root_bundle=str(run.edge_given / "certs" / "root.pem"),
        lua_modules=nginx.lua_modules,
        lua_path=nginx.lua_path,
        slots=SLOTS,
        workers=workers,
        cold_rate=COLD_RATE,
        cold_burst=COLD_BURST,
        keepalive_min_timeout=nginx.version >= KEEPALIVE_MIN_TIMEOUT,
    )


def edge_files(settings: EdgeSettings) -> Mapping[str, bytes]:
    """nginx's program, by file name, with the Lua that ships beside its emitter."""
    return EDGE.emit(view_in(settings), EdgePlace(settings, lua_modules()))


@cache
def lua_modules() -> Mapping[str, str]:
    """The texts of the edge's Lua, by path below `lua/`."""
    root = files("meshward.targets.nginx").joinpath("lua")
    return {
        f"{place}{each.name}": each.read_text(encoding="utf-8")
        for place, directory in (("", root), ("phases/", root.joinpath("phases")))
        for each in directory.iterdir()
        if each.name.endswith(".lua")
    }


def write_edge(
    settings: EdgeSettings,
    authority: Authority,
    revoked: Revoked,
    owner: Owner,
    generation: int,
    epoch: int,
    web: Secret | None = None,
) -> None:
    """What nginx reads: the program, certificates of `generation`, the page that names them, the revoked.

    `web`: key and chain of the server certificate; None: it is issued.
    """
    make_own(Path(settings.run_dir), holder_of(owner.identity))
    directory = owner.readable_directory(Path(settings.given))
    certs = owner.readable_directory(directory / "certs")
    now = datetime.now(UTC)
    edge = SpiffeId(authority.trust_domain, "/edge")
    web = web or authority.issue_web(settings.hostname, now).key_and_chain()
    names = certificate_names(generation)
    owner.write(certs / names[WEB], web)
    owner.write(certs / names[CLIENT], authority.issue(edge, None, now).key_and_chain())
    owner.write(certs / "root.pem", authority.root_pem)
    owner.write(Path(settings.placeholder), placeholder_certificate())
    write_program(settings, owner)
    write_edge_revoked(revoked, directory, owner)
    page = EdgePage.in_directory(directory)
    page.close()
    owner.write(page.path, page_bytes(epoch, generation))


def write_program(settings: EdgeSettings, owner: Owner) -> None:
    """nginx's file and its Lua; the file last, for it names the others."""
    directory = Path(settings.given)
    owner.readable_directory(directory / "lua")
    owner.readable_directory(directory / "lua" / "phases")
    for name, content in sorted(edge_files(settings).items()):
        owner.write(directory / name, content)


def edge_certificates(run: Run) -> dict[str, Path]:
    """The files of the generation that nginx shows, by stem. Raises OSError."""
    generation = EdgePage.in_directory(run.edge_given).generation
    return {stem: run.edge_given / "certs" / name for stem, name in certificate_names(generation).items()}


def certificate_names(generation: int | str) -> dict[str, str]:
    """The edge's certificates of one generation, by stem."""
    return {stem: f"{stem}.{generation}.pem" for stem in (WEB, CLIENT)}


def write_guard(given: GuardFiles, run: Run, slot: int, owner: Owner, edge: ProcessIdentity) -> None:
    """A guard's directories. The edge's group may connect to its socket."""
    take(run.path / "guards", 0o711)
    make_own(run.guard_dir(slot), holder_of(owner.identity, edge))
    take(run.given, 0o711)
    take(run.given / "guards", 0o711)
    directory = owner.readable_directory(run.guard_given(slot))
    owner.readable_directory(directory / "xds")
    for name, content in given.by_path.items():
        owner.write(directory / name, content)


def write_decision(
    live: LiveRevision, keys: SigningKeys, revoked: Revoked, run: Run, owner: Owner, edge: ProcessIdentity
) -> None:
    """The decision service's directories: its socket's, and what decides, and the key that signs."""
    make_own(run.decide_dir, holder_of(owner.identity, edge))
    take(run.given, 0o711)
    directory = owner.readable_directory(run.decide_given)
    save_current(directory / "keys", keys.current, owner.gid)
    write_revoked(revoked, run, owner)
    write_rules(live, None, run, owner)


def write_rules(live: LiveRevision, following: LiveRevision | None, run: Run, owner: Owner) -> None:
    """What decides: `live`, and until it is switched to `following` only what that permits as well.

    live.json, renamed last, names the others by digest: a service that starts in between refuses to.
    """
    directory = run.decide_given
    if following is not None:
        owner.write(directory / "next.json", to_json(following.policy))
    owner.write(directory / "policy.json", to_json(live.policy))
    owner.write(directory / "live.json", save_text(live.view(following.plan.digest if following else "")))
    if following is None:
        (directory / "next.json").unlink(missing_ok=True)


def write_authorities(authority: Authority, run: Run, owner: Owner) -> None:
    """Who issues the certificates that workloads show: the decision service reads it anew when it is replaced."""
    file = run.decide_given / AUTHORITIES
    known = file.read_text(errors="replace") if file.exists() else ""
    if authority.authorities_pem != known:
        owner.write(file, authority.authorities_pem)


def write_revoked(revoked: Revoked, run: Run, owner: Owner) -> None:
    """What the decision service refuses by."""
    owner.write(run.decide_given / REVOKED, revoked_text(revoked))


def write_edge_revoked(revoked: Revoked, directory: Path, owner: Owner) -> None:
    """What nginx ends running answers by."""
    owner.write(directory / EDGE_REVOKED, edge_text(revoked))
