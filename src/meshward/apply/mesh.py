"""The running mesh of this machine: what runs at every hop, and what it takes to change a hop.

What runs is one value, `Running`: whoever reads it reads all of it as of one moment. Whatever changes it takes its turn
first (`transaction`, `revoke`, `keys`, `traffic`) and puts the next value in its place by `swap`, and by nothing else.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Final

import structlog

from meshward.apply.changes import Changes
from meshward.apply.counters import Counters
from meshward.apply.drain import Drains
from meshward.apply.guards import Guards, Issue
from meshward.apply.hop_files import Owner, write_authorities
from meshward.apply.keeping import mark_of_records, save_keeping
from meshward.apply.live_revision import LiveRevision
from meshward.apply.revisions import Revision, Revisions
from meshward.apply.revocation_store import Revocations, save_revocations
from meshward.apply.switching import Switch, Switcher
from meshward.apply.unsettled import Unsettled, save_unsettled
from meshward.callers.revocations import Revoked
from meshward.kit import codes
from meshward.kit.clock import system_clock
from meshward.kit.errors import MeshwardError
from meshward.runtime.machine import Machine
from meshward.runtime.supervise.handle import SupervisorHandle
from meshward.spiffe.ca import load_current as load_authority
from meshward.targets.nginx.settings import EdgeSettings
from meshward.tokens.key_store import load as load_keys

PATIENCE = 20.0  # seconds to wait for one's turn

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Running:
    """What runs at every hop. `settings` is the program that nginx runs.

    `revocations` are what this instance knows, whatever becomes of the file; `unkept`: the file lacks some of them.
    `unsettled`: a hop may run something else; `way_back` leads it back, where a change of policy is the reason.
    """

    live: LiveRevision
    settings: EdgeSettings
    counters: Counters
    revocations: Revocations = field(default_factory=Revocations)
    unkept: bool = False
    unsettled: Unsettled | None = None
    way_back: Switch | None = None


class Mesh:
    """To be changed from threads beside the supervisor's loop, inside `turn`."""

    def __init__(self, machine: Machine, running: Running) -> None:
        self.machine: Final = machine
        self.guards: Final = Guards(machine)
        self.drains: Final = Drains(self.guards)
        self.revisions: Final = Revisions(machine.state.path)
        self.changes: Final = Changes(machine.run.changes)
        self._running = running
        self._turn = threading.Lock()
        self._holder: int | None = None  # the thread whose turn it is
        self._supervisor: SupervisorHandle | None = None
        self._ahead: list[Revoked] = []

    @property
    def running(self) -> Running:
        """As of now. Who needs more than one thing of it reads it once."""
        return self._running

    @property
    def live(self) -> LiveRevision:
        """The revision that runs."""
        return self._running.live

    def swap(self, running: Running) -> None:
        """From now on this runs. Only whoever has the turn may say so: another thread's word is a fault of ours."""
        if self._holder != threading.get_ident():
            raise RuntimeError("what runs was to be swapped without the turn")
        self._running = running

    @property
    def revoked(self) -> Revoked:
        """Who is refused now."""
        return self._running.revocations.revoked.joined(self.ahead()).standing(system_clock())

    def ahead(self) -> Revoked:
        """Who is to be refused by those that wait for their turn."""
        return reduce(Revoked.joined, tuple(self._ahead), Revoked())

    @contextmanager
    def going_ahead(self, revoked: Revoked) -> Iterator[None]:
        """Inside, they are refused whoever has the turn."""
        self._ahead.append(revoked)
        try:
            yield
        finally:
            self._ahead.remove(revoked)

    @property
    def is_taken(self) -> bool:
        """Whether somebody has the turn."""
        return self._turn.locked()

    def unsettle(self, unsettled: Unsettled | None, way_back: Switch | None = None) -> None:
        """From now on a hop may run something else, or none any more. Inside the turn."""
        self.swap(replace(self._running, unsettled=unsettled, way_back=way_back))
        save_unsettled(self.machine.state.path, unsettled)

    def keep(self, revocations: Revocations) -> None:
        """Who is revoked, durably; the counters name both lists while one replaces the other. Inside the turn.

        Raises OSError: then the list is the one from before, or this one.
        """
        state, digest = self.machine.state.path, revocations.digest
        between = self._running.counters.also_naming(digest)
        between.save(state)
        self.swap(replace(self._running, counters=between))
        save_revocations(state, revocations)
        counters = between.naming(digest)
        self.swap(replace(self._running, counters=counters, revocations=revocations, unkept=False))
        with suppress(OSError):  # both are named, then: the next list ends that
            counters.save(state)

    def accept(self, revision: Revision) -> None:
        """From here on it is what runs. The counters name it before: no start takes what they do not name.

        Raises OSError; then it is not.
        """
        state, counters = self.machine.state.path, self._running.counters
        counters.also_running(revision.number, revision.digest).save(state)
        try:
            self.revisions.accept(revision)
        except OSError:
            with suppress(OSError):  # then both are named until the next change
                counters.save(state)
            raise

    def attach(self, supervisor: SupervisorHandle) -> None:
        """What was prepared runs. From now on there are processes to change; before, nothing can be."""
        counters = self._running.counters.after_acceptance()
        with suppress(OSError):  # a start that forgets it knows less, and is no less right
            counters.save(self.machine.state.path)
        self._running = replace(self._running, counters=counters)
        self._supervisor = supervisor

    def remember_records(self, *, reckoned: bool = False) -> None:
        """How far the records are (`mark_of_records`), for the counters, and for the collector with what it goes by."""
        running, machine = self._running, self.machine
        once = mark_of_records(machine.state.path, running.counters.records, reckoned=reckoned)
        self._running = replace(running, counters=replace(running.counters, records=once))
        save_keeping(machine.run.control_dir, running.live.plan, once)

    @contextmanager
    def turn(self, patience: float | None = None) -> Iterator[None]:
        """One change at a time, and only while whoever asked for it may still make it. `patience`: else PATIENCE.

        Raises MeshwardError (exit 3) where another one takes too long, and while the instance starts or stops.
        """
        if not self._turn.acquire(timeout=PATIENCE if patience is None else patience):
            raise conflict_error("another change is being applied", "Try again when it is done.")
        self._holder = threading.get_ident()
        try:
            self.require_running()
            self.changes.require_still()
            yield
        finally:
            self._holder = None
            self._turn.release()

    def require_running(self) -> None:
        """Raises MeshwardError (exit 3) while the instance starts or stops."""
        if self.supervisor.stopping:
            raise conflict_error(
                "the instance is being stopped", "Start it again: it writes everything anew."
            )

    def wait_for_last(self, within: float) -> None:
        """During a stop: until the change under way has ended, or `within` seconds."""
        if self._turn.acquire(timeout=within):
            self._turn.release()

    @property
    def supervisor(self) -> SupervisorHandle:
        """Raises MeshwardError (exit 3) while the instance is still starting."""
        if self._supervisor is None:
            raise conflict_error("the instance is still starting", "Try again when it is ready.")
        return self._supervisor

    def note(self, author: str, did: str, **what: str) -> None:
        """Keep who changed what: every change, by a person or by the instance itself."""
        log.info(did, author=author, **what)
        self.changes.note(author, did, what)

    def switcher(self) -> Switcher:
        return Switcher(self.machine, self.guards, self.supervisor, self.ahead)

    def issue(self) -> Issue:
        """What every guard is given beside the policy, as of now. Raises OSError, MeshwardError."""
        machine = self.machine
        authority = load_authority(machine.state.path / "ca", self.live.plan.trust_domain)
        write_authorities(authority, machine.run, Owner(machine.decide))  # it may have a new intermediate
        return Issue(authority, load_keys(machine.state.path / "keys"), self.revoked)


def conflict_error(message: str, remedy: str) -> MeshwardError:
    """Somebody else was first, or is at it."""
    return MeshwardError(codes.CONFLICT, message, remedy)
