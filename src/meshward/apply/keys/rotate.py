"""Keys and certificates replaced while requests run, each in an order that refuses nobody.

Whatever is killed in between, the next start writes every hop anew from STATE alone, so STATE changes before the hop
that begins to *use* the new thing, and after all hops that must *accept* it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import structlog

from meshward.apply.decision_hop import DecisionHop
from meshward.apply.guards import Issue
from meshward.apply.hop_files import CLIENT, WEB
from meshward.apply.keys.inventory import (
    CA,
    EDGE_CERTIFICATE,
    OLD_ROOT,
    ROOT,
    SIGNING_KEY,
    SVIDS,
    save_failure,
    told_failure,
)
from meshward.apply.keys.renew import renew_edge, renew_guards, share_bundle
from meshward.apply.live_revision import Guard
from meshward.apply.mesh import Mesh, conflict_error
from meshward.apply.switching import Say
from meshward.kit import codes
from meshward.kit.clock import system_clock, to_second
from meshward.kit.errors import MeshwardError, run_all
from meshward.kit.exits import Exit
from meshward.spiffe.ca import SVID_TTL
from meshward.spiffe.ca_store import CaStore
from meshward.targets.envoy.files import GuardFiles
from meshward.targets.nginx.wire import Far
from meshward.tokens.key_store import load as load_keys
from meshward.tokens.key_store import save as save_keys
from meshward.tokens.keys import SigningKeys

OVERLAP = timedelta(hours=24)  # clients fetch the new root, and workloads' SVIDs below the old one end
SHORTEST_OVERLAP = SVID_TTL + timedelta(minutes=5)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Rotation:
    """Who wants what replaced, and why. `overlap` and `force` are for roots alone.

    `given`: the id of the signing key that hops of other machines were given as the next one.
    """

    what: str
    author: str
    reason: str = ""
    overlap: timedelta = OVERLAP
    force: bool = False
    given: str = ""


def rotate(mesh: Mesh, wanted: Rotation, say: Say) -> float:
    """Replace it at every hop, and return how many seconds that took.

    Raises MeshwardError: exit 5 naming each hop that was not seen to have it (tried again by the schedule), exit 3 and
    4 where it must not be now.
    """
    began = time.monotonic()
    with mesh.turn():
        try:
            _STEPS[wanted.what](mesh, wanted, say)
        except (MeshwardError, OSError) as error:
            _note_failure(mesh, wanted.what, error)
            raise
        save_failure(mesh.machine.state.path, wanted.what, None)
        mesh.note(wanted.author, "rotate", what=wanted.what, reason=wanted.reason)
    return time.monotonic() - began


def _note_failure(mesh: Mesh, what: str, error: MeshwardError | OSError) -> None:
    """What must not be yet is no failure; what could not be is tried again."""
    why = told_failure(error)
    if isinstance(error, MeshwardError) and (
        error.exit_code is Exit.CONFLICT
        or error.code in (codes.OLD_ROOT_NEEDED, codes.KEY_NOT_GIVEN, codes.ROOT_NOT_GIVEN)
    ):
        return
    log.error("not_rotated", what=what, why=why)
    try:
        save_failure(mesh.machine.state.path, what, why)
    except OSError:
        log.error("failure_not_kept", what=what)


def _svids(mesh: Mesh, _: Rotation, say: Say) -> None:
    _leaves(mesh, mesh.issue(), say, CLIENT)


def _edge_certificate(mesh: Mesh, _: Rotation, say: Say) -> None:
    say("a new server certificate for the edge")
    renew_edge(mesh, mesh.issue(), WEB)


def _ca(mesh: Mesh, _: Rotation, say: Say) -> None:
    """The bundle stays: verifiers know the root, and leaves bring their intermediate along.

    The decision service, which sees leaves alone, is given the new one (`mesh.issue`) before a leaf of it exists.
    """
    say("a new intermediate below the same root")
    _ca_store(mesh).reissue(datetime.now(UTC))
    _leaves(mesh, mesh.issue(), say, CLIENT, *_generated_stems(mesh))


def _root(mesh: Mesh, wanted: Rotation, say: Say) -> None:
    """Bundle first, then leaves. The edge's server certificate stays below the old root until that is dropped."""
    store = _ca_store(mesh)
    overlap = store.names().overlap
    far = [key for key, place in mesh.live.elsewhere.items() if isinstance(place, Far)]
    if far and overlap is None and not wanted.force:
        raise MeshwardError(
            codes.ROOT_NOT_GIVEN,
            f"guards on other machines ({', '.join(sorted(far)[:3])}) would not know the edge below a new root",
        )
    if overlap is not None and overlap.used:
        raise conflict_error(
            f"the root is being replaced: the old one goes at {to_second(store.old_root_may_go())}",
            "`meshward rotate ca --root --finish` drops it at once, where no workload needs it any more.",
        )
    say("a new root, beside the old one in every bundle; nginx reloads")
    store.announce(datetime.now(UTC), wanted.overlap)
    share_bundle(mesh, mesh.issue())
    store.use(datetime.now(UTC))
    _leaves(mesh, mesh.issue(), say, CLIENT)


def _old_root(mesh: Mesh, wanted: Rotation, say: Say) -> None:
    """Certificates first, then the bundle; after a failure, what is left of that."""
    store = _ca_store(mesh)
    _require_unneeded(store, wanted)
    say("the server certificate below the new root")
    store.finish()
    issue = mesh.issue()
    renew_edge(mesh, issue, *_generated_stems(mesh), CLIENT)
    say("the old root leaves every bundle; nginx reloads")
    share_bundle(mesh, issue)


def _require_unneeded(store: CaStore, wanted: Rotation) -> None:
    overlap = store.names().overlap
    if overlap is None:
        return
    if not overlap.used:
        raise conflict_error(
            "not every hop was seen to trust the new root yet",
            "`meshward rotate ca --root` goes on with it, and names the hop.",
        )
    end = store.workloads_end(store.load().standing.root.certificate)
    if end > system_clock() and not wanted.force:
        raise MeshwardError(
            codes.OLD_ROOT_NEEDED,
            f"workloads hold SVIDs below the old root until {to_second(end)}",
        )


def _signing_key(mesh: Mesh, wanted: Rotation, say: Say) -> None:
    """0 hops of other machines know the next key: whoever gave it to them says so; 1 every guard here knows it, and the
    one after it; 2 STATE; 3 it signs, and nothing cached outlives that.

    Where the last rotation did not come to its end, this one is that end. A service that does not answer tells nothing
    of that: it is waited for.
    """
    directory, hop = mesh.machine.state.path / "keys", DecisionHop(mesh.machine)
    keys, signs = load_keys(directory), hop.signs()
    if signs != keys.current.kid:
        hop.rekey(keys, mesh.supervisor)
    if signs not in (None, keys.current.kid):
        return
    _require_given(mesh, keys, wanted)  # 0
    following = keys.advanced(system_clock())
    say("every guard is told of the next key")
    _give_keys(mesh, keys, following)  # 1
    save_keys(directory, following)  # 2
    say("the decision service signs with it")
    hop.rekey(following, mesh.supervisor)  # 3


def _require_given(mesh: Mesh, keys: SigningKeys, wanted: Rotation) -> None:
    """Raises MeshwardError (MW5016): nobody here sees which keys a mesh, or a guard elsewhere, accepts."""
    kid, away = keys.next.kid, sorted(mesh.live.elsewhere)
    if away and wanted.given != kid:
        given = f", not {wanted.given}" if wanted.given else ""
        raise MeshwardError(
            codes.KEY_NOT_GIVEN,
            f"the next signing key is {kid}{given}: hops that are not on this machine must know it first "
            f"({', '.join(away[:3])}{', ...' if len(away) > 3 else ''})",
        )


def drop_retired(mesh: Mesh) -> None:
    """Have the guards forget signing keys whose last token has ended: none while an old one may still sign.

    Raises MeshwardError, OSError.
    """
    with mesh.turn():
        directory, hop = mesh.machine.state.path / "keys", DecisionHop(mesh.machine)
        keys = load_keys(directory)
        left = keys.pruned(system_clock())
        if left.previous != keys.previous and hop.signs() == keys.current.kid:
            _give_keys(mesh, keys, left)
            save_keys(directory, left)


def _give_keys(mesh: Mesh, old: SigningKeys, new: SigningKeys) -> None:
    """`new` to every guard, or `old` to all of them again."""
    issue, given = mesh.issue(), list[Guard]()

    def files(guard: Guard, keys: SigningKeys) -> GuardFiles:
        return mesh.guards.render(mesh.live, guard, Issue(issue.authority, keys, issue.revoked))

    try:
        for guard in mesh.live.guards():
            given.append(guard)
            mesh.guards.switch(guard, files(guard, new), mesh.supervisor)
    except (MeshwardError, OSError):
        for guard in given:
            try:
                mesh.guards.switch(guard, files(guard, old), mesh.supervisor, back=True)
            except (MeshwardError, OSError) as error:
                log.error("not_back", why=str(error))
        raise


def _leaves(mesh: Mesh, issue: Issue, say: Say, *stems: str) -> None:
    """New SVIDs for all guards, and the edge's of `stems`. Each hop gets its chance, whatever another one does."""
    say(f"new SVIDs for {len(mesh.live.guards())} guards and the edge")
    run_all([lambda: renew_guards(mesh, issue), lambda: renew_edge(mesh, issue, *stems)])


def _generated_stems(mesh: Mesh) -> tuple[str, ...]:
    """The server certificate, where it is ours to issue."""
    return (WEB,) if mesh.live.plan.edge.certificate_path is None else ()


def _ca_store(mesh: Mesh) -> CaStore:
    return CaStore(mesh.machine.state.path / "ca", mesh.live.plan.trust_domain)


_STEPS: dict[str, Callable[[Mesh, Rotation, Say], None]] = {
    SVIDS: _svids,
    CA: _ca,
    ROOT: _root,
    OLD_ROOT: _old_root,
    SIGNING_KEY: _signing_key,
    EDGE_CERTIFICATE: _edge_certificate,
}
