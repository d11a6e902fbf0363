"""New leaves for the hops, while they serve: no hop is restarted or reloaded for one, and each is seen to have it.

A guard sees its new SVID by the rename of a watched file; the edge by the rename of the pointer to a generation. Only
a trust bundle takes a reload of nginx, which reads that file when it starts.
"""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import structlog

from meshward.apply.edge_certificate import require_own_key, server_certificate
from meshward.apply.edge_hop import EdgeHop
from meshward.apply.edge_page import EdgePage
from meshward.apply.guards import AT_A_TIME, Issue
from meshward.apply.handed import why_not_as_handed
from meshward.apply.hop_files import CLIENT, WEB, Owner, certificate_names, edge_certificates
from meshward.apply.live_revision import Guard
from meshward.apply.mesh import Mesh
from meshward.apply.report import save_roots
from meshward.kit import codes
from meshward.kit.durable import opened_directory
from meshward.kit.errors import MeshwardError
from meshward.kit.foreign import owner_of, take
from meshward.kit.hop_socket import Asking, Listener, NoAnswer
from meshward.kit.secret import Secret
from meshward.plan.ir import Plan
from meshward.runtime.place.directories import Run
from meshward.runtime.supervise.ready import leaf_of, shown_leaf
from meshward.spiffe.ids import SpiffeId
from meshward.targets.envoy.resources import BUNDLE, SVID, bundle, version_of

log = structlog.get_logger(__name__)
_Hop = TypeVar("_Hop")
_ISSUED = re.compile(r"(web|edge)\.[0-9]+\.pem", re.ASCII)


def renew_guards(mesh: Mesh, issue: Issue) -> None:
    """A new SVID for every guard. Raises MeshwardError naming those that were not seen to have it."""
    _each(mesh.live.guards(), lambda guard: _hand(mesh, guard, issue, SVID))


def renew_edge(mesh: Mesh, issue: Issue, *stems: str) -> None:
    """The edge's certificates of `stems` anew, and seen to be served.

    Raises MeshwardError (MW3041) where one cannot be had, exit 5 where nginx was not seen to serve it: then the
    generation before is shown again, unless it was no good either.
    """
    plan, run = mesh.live.plan, mesh.machine.run
    before = _shown(run)
    put_edge(mesh, plan, issue, *stems)
    generation, edge = mesh.running.counters.generation, mesh.machine.edge.uid
    try:
        mesh.supervisor.arrival("the edge", lambda: _edge_lacks(run, edge, plan, generation))
    except MeshwardError:
        _show_again(mesh, plan, before)
        raise


def put_edge(mesh: Mesh, plan: Plan, issue: Issue, *stems: str) -> None:
    """The next generation of the edge's certificates: those of `stems` are new, as `plan` wants them, the others stay.

    Raises MeshwardError (MW3041), OSError; then the last generation stands.
    """
    run, owner = mesh.machine.run, Owner(mesh.machine.edge)
    take(run.given, 0o711)
    owner.readable_directory(run.edge_given)
    owner.readable_directory(run.edge_given / "certs")
    shown = _shown(run)
    content = {stem: _edge_certificate(stem, stem in stems, plan, issue, run) for stem in (WEB, CLIENT)}
    counters = mesh.running.counters.renewed()
    generation = counters.generation
    for stem, name in certificate_names(generation).items():
        file = run.edge_given / "certs" / name
        owner.write(file, content[stem])
        _require_loadable(file)
    mesh.swap(replace(mesh.running, counters=counters))
    counters.save(mesh.machine.state.path)
    # Clients first: they may not know who issued it.
    save_roots(mesh.machine, plan, content[WEB], besides=True)
    EdgePage.in_directory(run.edge_given).show(generation)
    save_roots(mesh.machine, plan, content[WEB])
    _discard(run.edge_given / "certs", keep=(generation, shown))


def _shown(run: Run) -> int:
    """The generation that nginx is shown; 0, which is none, where that cannot be known."""
    try:
        return EdgePage.in_directory(run.edge_given).generation
    except OSError:
        return 0


def _show_again(mesh: Mesh, plan: Plan, generation: int) -> None:
    run = mesh.machine.run
    file = run.edge_given / "certs" / certificate_names(generation)[WEB]
    served = _kept(file, run)
    if served is None:
        return
    try:
        save_roots(mesh.machine, plan, served, besides=True)
        EdgePage.in_directory(run.edge_given).show(generation)
    except (MeshwardError, OSError) as error:
        log.error("not_back", generation=generation, why=str(error))


def _kept(file: Path, run: Run) -> Secret | None:
    """What nginx can read in `file`; None: it cannot, or it is no certificate with its key."""
    try:
        if why_not_as_handed(file, run.given, owner_of(run.edge_dir)):
            return None
        pem = file.read_text()
        require_own_key(pem.encode())
        return Secret(pem)
    except (OSError, ValueError):
        return None


def share_bundle(mesh: Mesh, issue: Issue) -> None:
    """Have every hop trust the authority's roots, and no others. Raises MeshwardError naming those not seen to.

    The decision service reads its own anew when it next decides about a workload (`hop_files.write_authorities`).
    """
    save_roots(mesh.machine, mesh.live.plan, Secret(edge_certificates(mesh.machine.run)[WEB].read_text()))
    expected = {BUNDLE: version_of(bundle(issue.authority.root_pem))}
    lacking = [guard for guard in mesh.live.guards() if not mesh.guards.runs(guard, expected)]

    def hand(hop: Guard | None) -> None:
        if hop is None:
            _reload_edge(mesh, issue.authority.root_pem)
        else:
            _hand(mesh, hop, issue, BUNDLE)

    _each([*lacking, None], hand)


def _edge_certificate(stem: str, new: bool, plan: Plan, issue: Issue, run: Run) -> Secret:
    now = datetime.now(UTC)
    if not new and (kept := _kept(edge_certificates(run)[stem], run)) is not None:
        return kept
    if stem == WEB:
        return server_certificate(plan, issue.authority, now)
    return issue.authority.issue(SpiffeId(plan.trust_domain, "/edge"), None, now).key_and_chain()


def _require_loadable(file: Path) -> None:
    """What this machine's OpenSSL refuses, nginx would refuse in every handshake. Raises MeshwardError (MW3043)."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(file)
    except ssl.SSLError as error:
        raise MeshwardError(
            codes.CERTIFICATE_REFUSED,
            f"OpenSSL refuses the edge's certificate: {error.reason}",
        ) from None


def _hand(mesh: Mesh, guard: Guard, issue: Issue, stem: str) -> None:
    mesh.guards.hand(guard, mesh.guards.render(mesh.live, guard, issue), [stem], mesh.supervisor)


def _each(hops: Iterable[_Hop], step: Callable[[_Hop], None]) -> None:
    """Every hop gets its chance, several at a time; then those that failed are named."""
    failed: list[str] = []
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        stepping = [pool.submit(step, hop) for hop in hops]
    for each in stepping:
        try:
            each.result()
        except (MeshwardError, OSError) as error:
            failed.append(error.message if isinstance(error, MeshwardError) else str(error))
    if failed:
        raise MeshwardError(
            codes.NOT_HANDED_OUT,
            "; ".join(failed),
        )


def _reload_edge(mesh: Mesh, root_pem: str) -> None:
    """What nginx was not seen to load is taken back: the file says what it runs."""
    file, owner = mesh.machine.run.edge_given / "certs" / "root.pem", Owner(mesh.machine.edge)
    before = file.read_text()
    if before == root_pem:
        return
    owner.write(file, root_pem)
    try:
        EdgeHop(mesh.machine).switch(mesh.running.settings, mesh.supervisor)
    except MeshwardError:
        owner.write(file, before)
        raise


def _edge_lacks(run: Run, edge: int, plan: Plan, generation: int) -> Sequence[str]:
    """What keeps nginx, which runs as the uid `edge`, from serving `generation`, in sentences."""
    try:
        told = Asking(Listener(run.edge_dir / "cold.sock", edge)).text("/generation")
        shown = shown_leaf(plan.edge.host, plan.edge.port)
        expected = leaf_of(edge_certificates(run)[WEB].read_text())
    except (NoAnswer, OSError, ValueError) as error:
        return [f"it cannot be asked: {error}"]
    lack = [] if told == str(generation) else [f"it reads generation {told[:20]!r} instead of {generation}"]
    return lack if shown == expected else [*lack, "it shows another certificate"]


def _discard(certs: Path, keep: Sequence[int]) -> None:
    kept = {name for generation in keep for name in certificate_names(generation).values()}
    with opened_directory(certs) as directory:  # the edge's uid could put a link in its place
        for name in os.listdir(directory):  # noqa: PTH208  by the descriptor, not by the path
            if _ISSUED.fullmatch(name) and name not in kept:
                os.unlink(name, dir_fd=directory)
